"""Mail that our own users hand in: whose it is, what leaves of it, encrypted for whom.

A mailbox of ours gets it as it gets mail from outside. A mailbox of somebody else gets a copy
of its own, encrypted to its certificate, where the sender's policy and what is known of the
certificate say so (`policy.treat_peer`); all others share the message in the clear. Whatever
leaves is signed last (`signed`).
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from keyservice.client import Mailbox, Outcome, Outgoing, PeerAnswer, Sender
from letterlock import payloads
from letterlock.aftermath import Aftermath
from letterlock.autocrypt_field import autocrypt_field
from letterlock.ciphertext import Spill
from letterlock.dkim.body_hash import BodyHasher
from letterlock.dkim.keys import KeyDirectory
from letterlock.dkim.signing import BODY_HASH
from letterlock.errors import CallbackOrder, SenderUnknown
from letterlock.gateway import Effects, Gateway
from letterlock.header_protection import Recorded
from letterlock.hygiene import OwnFields, clean
from letterlock.message import HeaderField, HeaderSection
from letterlock.openpgp import EncryptedMessage
from letterlock.origins import NotAllowed
from letterlock.outer_header import OuterHeader
from letterlock.outgoing import Builder, Builds
from letterlock.plan import Treated
from letterlock.policy import Treatment, treat_peer
from letterlock.senders import Author, SenderTables, identity, require_own
from letterlock.signed import Signed
from letterlock.subkeys import alive
from letterlock.submitted import Submitted
from letterlock.transaction import Recipient, Transaction
from letterlock.verdict import Verdict


class AskSender(Protocol):
    """Asks the key service about a mailbox that sends."""

    def __call__(self, mailbox: Mailbox, *, anew: bool = False) -> Sender | None:
        """Return what it says, or said some seconds ago; None: it could not be asked."""


@dataclass(frozen=True, slots=True)
class Submitting:
    """What this role knows of the world besides `Effects`."""

    tables: SenderTables
    sender: AskSender

    peers: Callable[[Collection[Mailbox]], Mapping[Mailbox, PeerAnswer]]
    aftermath: Aftermath
    keys: KeyDirectory
    signature_days: int


class Submission(Gateway):
    """The role of a submission server (RFC 6409)."""

    def __init__(
        self,
        effects: Effects,
        authserv_id: str,
        secret: bytes,
        spill: Spill,
        submitting: Submitting,
    ) -> None:
        self._submitting = submitting
        self._authserv_id = authserv_id
        super().__init__(effects, authserv_id, secret, spill)

    def end_of_header(self, transaction: Transaction, section: HeaderSection) -> None:
        """Take the header section; it is cleaned, and the ciphertexts begin.

        Raises NotAllowed, SenderUnknown, TablesUnavailable, SigningImpossible, SpillFailed.
        """
        author = self._author(transaction, section)
        sender = self._ask(author.mailbox)
        cleaned = clean(section, self._own_fields(author, sender))
        domain = author.address.domain
        leaving = _outside(transaction)
        transaction.submitted = Submitted(
            author=author,
            sender=sender,
            received=section,
            kept=cleaned.kept,
            body=BodyHasher([BODY_HASH]),
            signers=self._submitting.keys.signers(domain) if leaving else None,
        )
        transaction.recorded = Recorded(_authenticated(self._authserv_id))
        self._find_peers(transaction, sender, self._effects.clock())
        self._open(transaction, cleaned.section, section)
        payloads.begin(transaction, self._spill)

    def accepted(self, transaction: Transaction, verdict: Verdict) -> None:
        """Postfix has taken all that the verdict wanted."""
        super().accepted(transaction, verdict)
        for treated in verdict.treated:
            if treated.treatment is Treatment.ENCRYPT_PEER:
                self._note_use(treated.recipient)
        submitted = transaction.submitted
        if submitted is not None and submitted.may_enrol:
            self._submitting.aftermath.wrote(submitted.author.mailbox, submitted.received)

    def _author(self, transaction: Transaction, section: HeaderSection) -> Author:
        who, reverse_path = identity(transaction.client), transaction.envelope.reverse_path
        tables = self._submitting.tables
        try:
            return require_own(who, reverse_path, section, tables, self._ask)
        except NotAllowed:
            # For good, so not because of what was known before a certificate was issued.
            return require_own(who, reverse_path, section, tables, self._ask_anew)

    def _ask(self, mailbox: Mailbox, *, anew: bool = False) -> Sender:
        sender = self._submitting.sender(mailbox, anew=anew)
        if sender is None:
            raise SenderUnknown("key service")
        return sender

    def _ask_anew(self, mailbox: Mailbox) -> Sender:
        return self._ask(mailbox, anew=True)

    def _own_fields(self, author: Author, sender: Sender) -> OwnFields:
        policy, autocrypt = sender.policy, None
        # From with several mailboxes does not say whose certificate it would be.
        if policy.autocrypt and sender.keydata is not None and author.is_alone:
            autocrypt = autocrypt_field(author.address, sender.keydata, policy.prefer_encrypt)
        now = datetime.fromtimestamp(self._effects.clock(), UTC)
        return OwnFields(author.address, now, self._effects.random, autocrypt)

    def _signing(self, builder: Builder) -> Builds:
        clock, days = self._effects.clock, self._submitting.signature_days
        return Signed(builder, clock, days)

    def _watch(self, transaction: Transaction, chunk: bytes) -> None:
        if transaction.submitted is not None:
            transaction.submitted.body.write(chunk)

    def _complete(self, transaction: Transaction) -> None:
        if transaction.submitted is None:
            raise CallbackOrder("a submission of nobody")
        transaction.submitted.body.close()

    def _treated(
        self, transaction: Transaction, recipient: Recipient, arrived: EncryptedMessage | None
    ) -> Treated:
        submitted = transaction.submitted
        if submitted is None or recipient.answer.outcome is not Outcome.OUTSIDE:
            return self._local(transaction, recipient, arrived)
        treatment = treat_peer(
            submitted.sender.policy,
            recipient.peer,
            can_encrypt=bool(recipient.subkeys),
            arrived_encrypted=arrived is not None,
        )
        return Treated(recipient, treatment)

    def _as_edits(self, transaction: Transaction, header: OuterHeader) -> OuterHeader:
        submitted = transaction.submitted
        return header if submitted is None else header.over(submitted.received, submitted.kept)

    def _find_peers(self, transaction: Transaction, sender: Sender, now: float) -> None:
        outside = _outside(transaction)
        if not outside or sender.policy.outgoing is Outgoing.NEVER:
            return
        found = self._submitting.peers([recipient.mailbox for recipient in outside])
        own = alive(sender.subkeys, now) if sender.policy.copy_to_self else ()
        for recipient in outside:
            recipient.peer = found[recipient.mailbox]
            recipient.subkeys = alive(recipient.peer.subkeys, now)
            # One ciphertext has one version (RFC 9580 §10.3.2.1): the sender reads it, too, where
            # his certificate is of the recipient's kind.
            seipd = recipient.seipd
            if recipient.subkeys:
                recipient.subkeys += tuple(subkey for subkey in own if subkey.seipd is seipd)

    def _note_use(self, recipient: Recipient) -> None:
        # Rule (d) of LEAP's transitional key validation asks for it.
        if recipient.peer is not None and recipient.fingerprint and not recipient.peer.is_used:
            self._submitting.aftermath.encrypted_to(recipient.mailbox, recipient.fingerprint)


def _outside(transaction: Transaction) -> list[Recipient]:
    recipients = transaction.recipients.values()
    return [r for r in recipients if r.answer.outcome is Outcome.OUTSIDE]


def _authenticated(authserv_id: str) -> HeaderField:
    """Return what is known of a submission: that its sender has shown who he is."""
    # RFC 8601 §2.7.4, without the login: From says whose the mail is.
    return HeaderField(b"Authentication-Results", f" {authserv_id}; auth=pass".encode())
