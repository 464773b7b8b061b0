"""Steps of both roles alone, 10 KB: signing and verifying beside dkimpy, and what has no rival.

CPU time of this process; both take turns. Verifying is all that is done about a message, from
its header section to the Authentication-Results field, with the DNS answering at once.
"""

import base64
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

import arriving
import batches
import dkim
import handed_in
import load
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from report import Findings, Target

import signing
from keyservice.client import Mailbox, Sender
from letterlock.aliases import FinalRecipient, Rules
from letterlock.authentication import Authenticator
from letterlock.config import AuthenticationSection
from letterlock.dkim.body_hash import BodyHasher
from letterlock.dkim.signer import Signer
from letterlock.dkim.signing import BODY_HASH, sign
from letterlock.dns import Deadline
from letterlock.hygiene import OwnFields, clean
from letterlock.message import split
from letterlock.senders import Identity, require_own
from letterlock.smtp_client import SMTPClient

_DOMAIN = "example.test"
_OUTGOING = handed_in.message(_DOMAIN, ["partner@outside.test"], 0)
_ARRIVING = arriving.unsigned(load.body(10_240))
_SIGNING_DOMAIN = signing.DOMAIN.decode()


def measure(*, quick: bool) -> Findings:
    """Return the CPU time of each step."""
    rounds = 5 if quick else 15
    rows: list[tuple[str | float, ...]] = []
    targets = []
    for theirs in signing.signers():
        algorithm = theirs.algorithm.decode()
        for step, actions in (("sign", _signing(theirs)), ("verify", _verifying(theirs))):
            mine, other = batches.cpu_ms(actions, rounds)
            rows.append((step, algorithm, mine, other, other / mine))
            promise = f"{step}, {algorithm}: speed relative to dkimpy"
            targets.append(Target(promise, other / mine, at_least=1.0))
    alone = {"hygiene": _cleaning(), "require_own": _requiring()}
    for step, mine in zip(alone, batches.cpu_ms(list(alone.values()), rounds), strict=True):
        rows.append((step, "", mine, "", ""))
    return Findings(
        "steps",
        f"Steps alone, 10 KB, CPU ms (median of {rounds} rounds)",
        ("step", "algorithm", "Letterlock", "dkimpy", "ratio"),
        tuple(rows),
        tuple(targets),
    )


def _signing(theirs: signing.Signer) -> tuple[batches.Action, batches.Action]:
    return (
        partial(_signed, _OUTGOING, _ours(theirs), _DOMAIN),
        partial(theirs.signature, _OUTGOING, (b"relaxed", b"relaxed")),
    )


def _signed(message: bytes, signer: Signer, domain: str) -> bytes:
    section, body = split(message)
    hasher = BodyHasher([BODY_HASH])
    hasher.write(body)
    hasher.close()
    fields = sign(section.fields, hasher, domain, [signer], int(time.time()), 0)
    return b"".join(field.octets for field in fields)


def _verifying(theirs: signing.Signer) -> tuple[batches.Action, batches.Action]:
    message = _signed(_ARRIVING, _ours(theirs), _SIGNING_DOMAIN) + _ARRIVING
    authenticator = Authenticator("mx", AuthenticationSection(), _Records(theirs), time.time)
    return (
        _passing(lambda: b"dkim=pass" in _verified(authenticator, message)),
        _passing(lambda: dkim.verify(message, dnsfunc=theirs.dns)),
    )


def _verified(authenticator: Authenticator, message: bytes) -> bytes:
    section, body = split(message)
    inquiry = authenticator.begin(SMTPClient(), "sender@outside.test", section)
    inquiry.write(body)
    field = inquiry.close().field
    return field.value if field is not None else b""


def _passing(verify: Callable[[], bool]) -> batches.Action:
    def action() -> None:
        if not verify():
            raise LookupError("what was to be verified was not")

    return action


def _cleaning() -> batches.Action:
    section, _ = split(_OUTGOING)
    author, now = Mailbox.parse(f"alice@{_DOMAIN}"), datetime.now(UTC)
    return lambda: clean(section, OwnFields(author, now, bytes))


def _requiring() -> batches.Action:
    section, _ = split(_OUTGOING)
    address = f"alice@{_DOMAIN}"
    return lambda: require_own(Identity(address), address, section, _Tables(), _sender)


def _ours(theirs: signing.Signer) -> Signer:
    if theirs.algorithm == b"rsa-sha256":
        return Signer.from_pem("s", theirs.private)
    seed = base64.b64decode(theirs.private)
    return Signer("s", Ed25519PrivateKey.from_private_bytes(seed))


def _sender(mailbox: Mailbox) -> Sender:
    return Sender(mailbox=mailbox.key, is_ours=True)


class _Records:
    """`dns.Questions` that know one record."""

    def __init__(self, signer: signing.Signer) -> None:
        self._record = signer.record

    def txt(self, _name: str, _deadline: Deadline) -> tuple[bytes, ...]:
        """See `dns.Questions`."""
        return (self._record,)


class _Tables:
    """`senders.SenderTables` in which nothing stands."""

    rules = Rules(origin=_DOMAIN, delimiters="+")

    def resolve(self, forward_path: str) -> tuple[FinalRecipient, ...]:
        """See `aliases.final_recipients`."""
        return (FinalRecipient(forward_path, Mailbox.parse(forward_path)),)

    def login_owners(self, _address: str) -> None:
        """Nothing is said."""
