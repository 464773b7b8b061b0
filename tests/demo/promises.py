"""What is promised, and whether it was kept. Pure: evidence in, verdicts out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from demo.evidence import Copy, Delivery
from demo.letters import PROGRAM
from demo.mails import Mail
from demo.neighbours import Correspondence
from demo.thief import Searched, occurs
from stack.submitting import CLIENT_HOST

SIGNATURES = 2
"""With RSA and with Ed25519."""


@dataclass(frozen=True, slots=True)
class Promise:
    """One promise in plain words, and everything that speaks against it."""

    text: str
    broken: tuple[str, ...]

    @property
    def is_kept(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.broken


@dataclass(frozen=True, slots=True)
class Count:
    """One counter as it was read, beside what the mails make it be."""

    meaning: str
    name: str
    expected: int
    read: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that the demo saw."""

    deliveries: tuple[Delivery, ...]
    """Of the correspondence, too."""

    correspondence: Correspondence
    stored: Mapping[str, int]
    """Number of mails in the mailbox of each address, at the end."""

    waiting: int
    """Files in Postfix's queue, at the end."""

    searched: tuple[Searched, ...]
    counts: tuple[Count, ...]


def judge(evidence: Evidence) -> list[Promise]:
    """Return every promise of the demo with what speaks against it."""
    deliveries, letters = evidence.deliveries, evidence.correspondence
    copies = [(delivery.mail, copy) for delivery in deliveries for copy in delivery.copies]
    return [
        Promise(
            "Every owner got every mail, and got it once.",
            tuple(_lost_or_doubled(deliveries, evidence.stored)),
        ),
        Promise(
            "A thief who takes the disk finds no subject, no text, no attachment.",
            tuple(found for place in evidence.searched for found in place.found),
        ),
        Promise(
            "The search is a fair one: in what the owners read it finds every word.",
            tuple(_blind_spots(deliveries, evidence.searched)),
        ),
        Promise(
            "Each copy opens with the key of one owner, and names no other key.",
            tuple(_wrong_keys(copies)),
        ),
        Promise(
            "Alice cannot tell that Bob got a blind copy.",
            tuple(_told_of_bcc(copies)),
        ),
        Promise(
            "Owners get back exactly what was sent, octet for octet.",
            tuple(_changed(copies)),
        ),
        Promise(
            "What a sender encrypted stays as the sender encrypted it.",
            tuple(_touched(copies)),
        ),
        Promise(
            "Without a certificate nothing is stored in the clear; the mail waits at its sender.",
            tuple(_taken_without_certificate(evidence)),
        ),
        Promise(
            "What users send tells nothing of their computers, and both providers sign it.",
            tuple(_traces(letters)),
        ),
        Promise(
            "Where a certificate is known, what users send is encrypted before it leaves.",
            tuple(_legible_on_the_way(letters)),
        ),
        Promise(
            "It was known because the mail before had brought it along.",
            tuple(_not_learned(letters)),
        ),
        Promise(
            "The counters tell the same story.",
            tuple(
                f"{count.name} is {count.read:g}, expected {count.expected}"
                for count in evidence.counts
                if count.read != count.expected
            ),
        ),
    ]


def _lost_or_doubled(deliveries: Sequence[Delivery], stored: Mapping[str, int]) -> Iterator[str]:
    for mail in (d.mail for d in deliveries if d.reply and not d.mail.waits):
        yield f"the mail {mail.title!r} was not taken"
    for address, number in stored.items():
        mails = [d.mail for d in deliveries if not d.mail.waits]
        expected = sum(address in mail.to for mail in mails)
        if number != expected:
            yield f"{address} has {number} mails, expected {expected}"


def _blind_spots(deliveries: Sequence[Delivery], searched: Sequence[Searched]) -> Iterator[str]:
    for place in (place.place for place in searched if not place.files):
        yield f"there was nothing to search: {place}"
    for delivery in deliveries:
        read = [o for c in delivery.copies for o in (c.original, c.inner) if o is not None]
        texts = [delivery.mail.octets] if delivery.mail.waits else read
        for word in delivery.mail.secrets:
            if not any(occurs(word, text) for text in texts):
                yield f"{word!r} of the mail {delivery.mail.title!r} was not found there"


def _wrong_keys(copies: Sequence[tuple[Mail, Copy]]) -> Iterator[str]:
    for mail, copy in copies:
        address = copy.owner.address
        own = {copy.owner.subkey_fingerprint[-16:]}
        if copy.key_ids != own:
            named = ", ".join(sorted(copy.key_ids)) or "no key"
            yield f"{mail.title!r}, copy of {address}: names {named}"
        for other in copy.opened_by_others:
            yield f"{mail.title!r}, copy of {address}: {other} can open it"


def _told_of_bcc(copies: Sequence[tuple[Mail, Copy]]) -> Iterator[str]:
    for mail, copy in copies:
        if not mail.hides_recipient or copy.owner.address == mail.hides_recipient:
            continue
        for where, octets in (("stored copy", copy.stored), ("mail", copy.original or b"")):
            if occurs(mail.hides_recipient, octets):
                yield f"{mail.hides_recipient} stands in the {where} of {copy.owner.address}"


def _changed(copies: Sequence[tuple[Mail, Copy]]) -> Iterator[str]:
    for mail, copy in copies:
        if copy.original != mail.octets:
            what = "could not be restored" if copy.original is None else "is different"
            yield f"{mail.title!r}, copy of {copy.owner.address}: {what}"


def _touched(copies: Sequence[tuple[Mail, Copy]]) -> Iterator[str]:
    for mail, copy in copies:
        if mail.arrives_encrypted and _body(mail.octets) != _body(copy.stored):
            yield f"{mail.title!r}: its body was changed"


def _taken_without_certificate(evidence: Evidence) -> Iterator[str]:
    for delivery in (d for d in evidence.deliveries if d.mail.waits):
        if not delivery.reply.startswith("450 "):
            yield f"the server said {delivery.reply or '250, taken'!r}, not 450"
        for address in delivery.mail.to:
            if evidence.stored[address]:
                yield f"a mail is stored for {address}"
    if evidence.waiting:
        yield f"{evidence.waiting} files in the queue of the server"


def _traces(letters: Correspondence) -> Iterator[str]:
    deliveries = letters.first, letters.reply
    for mail, verdict in zip((d.mail for d in deliveries), letters.verdicts, strict=True):
        domain = mail.sender.partition("@")[2]
        if verdict.count(f"dkim=pass header.d={domain} ") != SIGNATURES:
            yield f"{mail.title!r}: the other provider says {verdict or 'nothing'!r}"
        for trace in (PROGRAM, CLIENT_HOST, "127.0.0.1"):
            if occurs(trace, mail.octets):
                yield f"{mail.title!r}: {trace!r} is in it"


def _legible_on_the_way(letters: Correspondence) -> Iterator[str]:
    mail = letters.reply.mail
    for word in mail.secrets:
        if occurs(word, mail.octets):
            yield f"{mail.title!r}: {word!r} could be read on the way"


def _not_learned(letters: Correspondence) -> Iterator[str]:
    if letters.before.bindings:
        yield "there was one before"
    known = [(b.source, b.fingerprint) for b in letters.after.bindings if b.state == "active"]
    expected = [("autocrypt", copy.owner.fingerprint) for copy in letters.reply.copies]
    if not expected or known != expected:
        yield f"{letters.after.mailbox}: {known or 'no certificate is known'}"


def _body(mail: bytes) -> bytes:
    # Dovecot stores LF where SMTP had CRLF.
    return mail.replace(b"\r\n", b"\n").partition(b"\n\n")[2]
