"""What a mail costs that a user hands in: signed, encrypted for one, encrypted for ten.

All doors are alike: a login by SASL without TLS, which costs least and is the same for all. The
recipients are outside, and the mail ends in discard(8).
"""

from collections.abc import Sequence
from contextlib import ExitStack

import handed_in
import rivals
from clients import Envelope
from host import Cost, Host
from report import Findings, Target
from rivals import Rival
from turns import COLUMNS, NOTE, SESSIONS, Way, figures, in_turns, ratio, require_right

from letterlock.dkim.signer import KeyType, Signer
from smtp_sink import SMTPSink
from stack import PASSWORD, Owner, dovecot

_MESSAGES = {1: 300, 10: 100}
"""In a round, by the number of recipients."""

_ENCRYPTED_RATIO_MAX = 1.3

_ONLY_RSA, _BOTH, _KNOWING = "rsa.test", "both.test", "example.test"
"""Domains of the senders; what they sign with, and the last also encrypts where it can."""

_DOMAINS: dict[str, dict[str, object]] = {
    _ONLY_RSA: {"outgoing": "never"},
    _BOTH: {"outgoing": "never"},
    _KNOWING: {},
}
_STRANGERS = tuple(f"stranger{number}@outside.test" for number in range(10))
_PEERS = tuple(f"peer{number}@outside.test" for number in range(10))
_SEEN_STRANGER, _SEEN_PEER = "stranger@look.test", "peer@look.test"

_DOOR = (
    "cleanup_service_name=letterlock-submission-cleanup",
    "smtpd_tls_security_level=none",
    "smtpd_sasl_auth_enable=yes",
    "smtpd_sasl_type=dovecot",
    "smtpd_sender_restrictions=reject_authenticated_sender_login_mismatch",
    "smtpd_relay_restrictions=permit_sasl_authenticated,reject",
)


def measure(*, quick: bool) -> Findings:
    """Return the CPU time for each message of 10 KB."""
    rounds = 3 if quick else 7
    with ExitStack() as stack:
        sink = stack.enter_context(SMTPSink())
        host = Host(submission=True, domains=_DOMAINS, relays={"look.test": sink.address})
        ways = _ways(host)
        stack.enter_context(host)
        owner = stack.enter_context(Owner(f"alice@{_KNOWING}"))
        host.stack.enrol(owner.address, owner.certificate)
        host.enrol_like(owner.address, [*_PEERS, _SEEN_PEER])
        for way in ways:
            require_right(way, sink)
        costs = in_turns(host, ways, rounds)
        _require_all_sent(host)
    none = {_count(way): costs[n] for n, way in enumerate(ways) if way.milter == "no milter"}
    return Findings(
        "submission",
        f"Submissions, 10 KB, CPU ms per message (median of {rounds} rounds, {SESSIONS} sessions)",
        ("milter", "signs with", "to", *COLUMNS),
        tuple(
            (way.milter, way.what, str(_count(way)), *figures(cost, none[_count(way)]))
            for way, cost in zip(ways, costs, strict=True)
        ),
        tuple(_targets(ways, costs)),
        (NOTE, *rivals.missing()),
    )


def _ways(host: Host) -> list[Way]:
    rsa, ed25519 = (Signer.generate(kind.value, kind) for kind in KeyType)
    keys = {_ONLY_RSA: [rsa], _BOTH: [rsa, ed25519], _KNOWING: [rsa, ed25519]}
    for domain, signers in keys.items():
        handed_in.store(host.stack.dkim_directory / domain, signers)
    none, ours = _door(host, ""), _door(host, "$letterlock_submission_milter")
    wanted = (
        Rival(rivals.OPENDKIM, "RSA", rivals.opendkim_signer(_ONLY_RSA, rsa)),
        Rival(rivals.OPENDKIM, "Ed25519", rivals.opendkim_signer(_ONLY_RSA, ed25519)),
        Rival(rivals.DKIMPY_MILTER, "RSA", rivals.dkimpy_signer(_ONLY_RSA, [rsa])),
        Rival(rivals.DKIMPY_MILTER, "both", rivals.dkimpy_signer(_ONLY_RSA, [rsa, ed25519])),
    )
    others = [
        _way(each.program, each.what, _door(host, host.add_milter(each.command)))
        for each in rivals.installed(wanted)
    ]
    return [
        _way("no milter", "", none),
        *others,
        _way("Letterlock", "RSA", ours),
        _way("Letterlock", "both", ours, _BOTH),
        _way("Letterlock", "both; unknown", ours, _KNOWING),
        _way("Letterlock", "both; encrypts", ours, _KNOWING, _PEERS[:1]),
        _way("no milter", "", none, recipients=_STRANGERS),
        _way("Letterlock", "both", ours, _BOTH, recipients=_STRANGERS),
        _way("Letterlock", "both; encrypts", ours, _KNOWING, _PEERS),
    ]


def _way(
    milter: str,
    what: str,
    port: int,
    domain: str = _ONLY_RSA,
    recipients: tuple[str, ...] = _STRANGERS[:1],
) -> Way:
    count = _MESSAGES[len(recipients)]

    def messages(turn: int) -> list[bytes]:
        # All are different: copies of what looks like the same message again are left out.
        numbers = range(turn * count, (turn + 1) * count)
        return [handed_in.message(domain, recipients, number) for number in numbers]

    encrypts = what.endswith("encrypts")
    signatures = 0 if not what else 2 if what.startswith("both") else 1
    return Way(
        milter,
        what,
        port,
        Envelope(f"alice@{domain}", recipients, PASSWORD),
        messages,
        _SEEN_PEER if encrypts else _SEEN_STRANGER,
        handed_in.leaves(signatures, encrypts=encrypts),
    )


def _require_all_sent(host: Host) -> None:
    copies = "letterlock_reentered_copies_total"
    if host.stack.counter("milter", copies, result="accepted_before"):
        raise LookupError("copies were left out, and not measured")


def _door(host: Host, milters: str) -> int:
    sasl = f"smtpd_sasl_path={dovecot.login_socket(host.stack.layout)}"
    return host.add_door(*_DOOR, sasl, f"smtpd_milters={milters}")


def _count(way: Way) -> int:
    return len(way.envelope.recipients)


def _targets(ways: Sequence[Way], costs: Sequence[list[Cost]]) -> list[Target]:
    by = {(w.milter, w.what, _count(w)): cost for w, cost in zip(ways, costs, strict=True)}
    signed = by["Letterlock", "RSA", 1]
    for_one, for_ten = by["Letterlock", "both; encrypts", 1], by["Letterlock", "both; encrypts", 10]
    promised = [
        Target(f"signed with RSA: CPU relative to {name}", ratio(signed, other), at_most=1.0)
        for name in (rivals.OPENDKIM, rivals.DKIMPY_MILTER)
        if (other := by.get((name, "RSA", 1)))
    ]
    encrypting = ratio(for_one, by["Letterlock", "both", 1])
    many = ratio(for_ten, for_one) / 10
    return [
        *promised,
        Target("encrypted: relative to signed only", encrypting, at_most=_ENCRYPTED_RATIO_MAX),
        Target("one to ten, encrypted: relative to ten to one", many, at_most=1.0),
    ]
