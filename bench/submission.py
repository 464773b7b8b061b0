"""What a mail costs that a user hands in: signed, encrypted for one, encrypted for ten.

All doors are alike: a login by SASL without TLS, which costs least and is the same for all. The
recipients are outside, and the mail ends in discard(8).
"""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import load
import rivals
from clients import Envelope
from host import Cost, Host
from report import Findings, Target
from rivals import Rival
from turns import COLUMNS, NOTE, SESSIONS, Way, figures, in_turns, require_right

from letterlock.dkim import key_files
from letterlock.dkim.key_files import Key, State
from letterlock.dkim.signer import KeyType, Signer
from smtp_sink import SMTPSink
from stack import PASSWORD, Owner, dovecot

_BODY_OCTETS = 10_240
_MESSAGES = {1: 300, 10: 100}
"""In a round, by the number of recipients."""

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

_HEADER = """\
Message-ID: <3f1c0a77-7a4c-4a2b-9c58-{{number:012}}@{domain}>
Date: Fri, 20 Nov 2026 09:00:01 +0100
MIME-Version: 1.0
User-Agent: Mozilla Thunderbird
Subject: =?UTF-8?Q?Re=3A_Caf=C3=A9_tomorrow?=
Content-Language: en-US
To: {recipients}
References: <a1b2c3d4-0001@outside.test> <a1b2c3d4-0002@{domain}>
From: Alice Example <alice@{domain}>
Organization: Example
In-Reply-To: <a1b2c3d4-0002@{domain}>
Content-Type: text/plain; charset=UTF-8; format=flowed
Content-Transfer-Encoding: 7bit

"""
"""As a common mail program writes it."""

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
        tuple(_targets(dict(zip(_names(ways), costs, strict=True)))),
        (NOTE, *rivals.missing()),
    )


def _ways(host: Host) -> list[Way]:
    rsa, ed25519 = (Signer.generate(kind.value, kind) for kind in KeyType)
    keys = {_ONLY_RSA: [rsa], _BOTH: [rsa, ed25519], _KNOWING: [rsa, ed25519]}
    for domain, signers in keys.items():
        _store(host.stack.dkim_directory / domain, signers)
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
        _way("Letterlock", "both; knows nobody", ours, _KNOWING),
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
    header = _HEADER.format(domain=domain, recipients=",\n ".join(recipients))
    header = header.replace("\n", "\r\n")
    body = load.body(_BODY_OCTETS).replace(b"\n", b"\r\n")
    count = _MESSAGES[len(recipients)]

    def messages(turn: int) -> list[bytes]:
        # All are different: copies of what looks like the same message again are left out.
        numbers = range(turn * count, (turn + 1) * count)
        return [header.format(number=number).encode() + body for number in numbers]

    encrypts = what.endswith("encrypts")
    signatures = 0 if not what else 2 if what.startswith("both") else 1
    return Way(
        milter,
        what,
        port,
        Envelope(f"alice@{domain}", recipients, PASSWORD),
        messages,
        _SEEN_PEER if encrypts else _SEEN_STRANGER,
        _leaves(signatures, encrypts=encrypts),
    )


def _leaves(signatures: int, *, encrypts: bool) -> Callable[[bytes], bool]:
    def is_right(octets: bytes) -> bool:
        header, _, _ = octets.partition(b"\r\n\r\n")
        is_encrypted = b"multipart/encrypted" in header
        return header.count(b"DKIM-Signature:") == signatures and is_encrypted == encrypts

    return is_right


def _require_all_sent(host: Host) -> None:
    copies = "letterlock_reentered_copies_total"
    if host.stack.counter("milter", copies, result="accepted_before"):
        raise LookupError("copies were left out, and not measured")


def _door(host: Host, milters: str) -> int:
    sasl = f"smtpd_sasl_path={dovecot.login_socket(host.stack.layout)}"
    return host.add_door(*_DOOR, sasl, f"smtpd_milters={milters}")


def _store(folder: Path, signers: Sequence[Signer]) -> None:
    key_files.make_folder(folder)
    for signer in signers:
        key_files.write_signer(folder, signer)
    now = int(time.time())
    keys = tuple(Key(s.selector, s.key_type, State.ACTIVE, now) for s in signers)
    key_files.write_keys(folder, keys)


def _count(way: Way) -> int:
    return len(way.envelope.recipients)


def _names(ways: Sequence[Way]) -> list[str]:
    return [f"{way.milter} {way.what} {_count(way)}" for way in ways]


def _targets(costs: dict[str, list[Cost]]) -> list[Target]:
    return []
