"""The one path of a message: envelope, header section and body in; a verdict out.

Knows nothing of the milter protocol. Everything outside of the process comes in through
`Effects`. What it does, in the order in which it happens:

1. each forward-path: final mailboxes, a lookup for each, the table (`policy.treat`);
2. the header section: one ciphertext for every combination of payload form and SEIPD
   version that a recipient needs;
3. each piece of the body: into the ciphertexts, and before the eyes of the classifier;
4. the end: the table again, now with what arrived; then the plan, the copies, the verdict.

The two roles, `inbound` and `submission`, fill in what is different between them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from keyservice.client import Answer, Mailbox
from letterlock import log, metrics, payloads
from letterlock.aliases import FinalRecipient
from letterlock.ciphertext import Spill
from letterlock.classify import Classifier, is_for
from letterlock.consent import require_consent
from letterlock.copies import Copies
from letterlock.envelope import ForwardPath
from letterlock.errors import CallbackOrder
from letterlock.markers import Identity, Markers, Store
from letterlock.message import HeaderSection
from letterlock.openpgp import EncryptedMessage
from letterlock.openpgp.scratch import Scratch
from letterlock.outer_header import OuterHeader
from letterlock.outgoing import Builder, Builds
from letterlock.own_fields import ENCRYPTED_HEADER_OCTETS_MAX
from letterlock.plan import Plan, Treated, plan
from letterlock.policy import Treatment, treat
from letterlock.reentry import ReentryPort
from letterlock.subkeys import usable_subkeys
from letterlock.transaction import Recipient, Transaction
from letterlock.verdict import Verdict, require_none_refused


@dataclass(frozen=True, slots=True)
class Effects:
    """All that both roles know of the world."""

    resolve: Callable[[str], tuple[FinalRecipient, ...]]
    lookup: Callable[[Mailbox], Answer]
    reentry: ReentryPort
    markers: Store
    clock: Callable[[], float]
    random: Callable[[int], bytes]


class Gateway(ABC):
    """Judges transactions; holds nothing of them itself."""

    def __init__(self, effects: Effects, authserv_id: str, secret: bytes, spill: Spill) -> None:
        self._effects = effects
        self._plain_builder = Builder(authserv_id, effects.clock, effects.random)
        self._builder = self._signing(self._plain_builder)
        self._copies = Copies(self._builder, effects.reentry, effects.markers)
        self._secret = secret
        self._spill = spill

    def recipient(self, transaction: Transaction, path: ForwardPath) -> None:
        """Take a forward-path into the transaction; all of its final mailboxes, or none.

        Raises Refused, TablesUnavailable, MailboxMalformed.
        """
        finals = self._effects.resolve(path.address)
        found = [self._recipient(transaction, final) for final in finals]
        require_none_refused(self._local(transaction, recipient, None) for recipient in found)
        for final, recipient in zip(finals, found, strict=True):
            known = transaction.recipients.setdefault(recipient.mailbox.key, recipient)
            known.addresses.setdefault(final.address, path.parameters)
        transaction.finals[path] = tuple(recipient.mailbox.key for recipient in found)

    @abstractmethod
    def end_of_header(self, transaction: Transaction, section: HeaderSection) -> None:
        """Take the header section; the ciphertexts begin. Raises LetterlockError."""

    def body(self, transaction: Transaction, chunk: bytes) -> None:
        """Encrypt some more of the body. Raises SpillFailed."""
        transaction.octets += len(chunk)
        payloads.write(transaction, chunk)
        if transaction.classifier is not None:
            transaction.classifier.write(chunk)
        if transaction.identity is not None:
            transaction.identity.update(chunk)
        if transaction.arrived is not None:
            payloads.set_aside(transaction.arrived, chunk)
        self._watch(transaction, chunk)

    def end_of_message(self, transaction: Transaction) -> Verdict:
        """Have every copy but the primary accepted, and return what the primary becomes.

        Raises Refused, ReentryFailed, SpillFailed, RecipientsLost, PlaintextForbidden: then
        nothing may be stored.
        """
        if transaction.classifier is None:
            raise CallbackOrder("end of message without end of header")
        self._complete(transaction)
        payloads.close(transaction)
        arrived = transaction.classifier.close()
        treated = [self._treated(transaction, r, arrived) for r in transaction.recipients.values()]
        require_none_refused(treated, transaction.finals)
        made = plan(treated, transaction.finals)
        sender = transaction.submitted.sender.policy if transaction.submitted else None
        require_consent(made, sender, arrived_encrypted=arrived is not None)
        markers = self._copies.send(transaction, made.copies)
        return self._verdict(transaction, made, tuple(treated), markers)

    def accepted(self, transaction: Transaction, verdict: Verdict) -> None:
        """Postfix has taken all that the verdict wanted."""
        if verdict.markers is not None:
            verdict.markers.settle()
        _report(transaction, verdict.treated)

    def _signing(self, builder: Builder) -> Builds:
        """Return what makes the messages of this role."""
        return builder

    def _watch(self, transaction: Transaction, chunk: bytes) -> None:  # noqa: B027 (not all do)
        """See a piece of the body go by."""

    def _complete(self, transaction: Transaction) -> None:  # noqa: B027 (nor do all care)
        """All of the body is here."""

    def _treated(
        self, transaction: Transaction, recipient: Recipient, arrived: EncryptedMessage | None
    ) -> Treated:
        return self._local(transaction, recipient, arrived)

    def _as_edits(self, transaction: Transaction, header: OuterHeader) -> OuterHeader:
        """Return `header` as edits of what Postfix holds."""
        return header

    def _recipient(self, transaction: Transaction, final: FinalRecipient) -> Recipient:
        if known := transaction.recipients.get(final.mailbox.key):
            return known
        answer = self._effects.lookup(final.mailbox)
        return Recipient(final.mailbox, answer, usable_subkeys(answer, self._effects.clock()))

    def _local(
        self, transaction: Transaction, recipient: Recipient, arrived: EncryptedMessage | None
    ) -> Treated:
        treatment = treat(
            recipient.answer,
            can_encrypt=bool(recipient.subkeys),
            encrypted_to_own_subkey=is_for(arrived, recipient.subkeys),
        )
        if treatment is Treatment.HEADER and not self._fits(transaction, recipient):
            treatment = Treatment.WRAP
        return Treated(recipient, treatment)

    def _fits(self, transaction: Transaction, recipient: Recipient) -> bool:
        """Whether the encrypted header section fits into a field that Postfix leaves whole."""
        encrypted = self._plain_builder.encrypted_header(transaction, recipient)
        return len(encrypted) <= ENCRYPTED_HEADER_OCTETS_MAX

    def _open(
        self, transaction: Transaction, section: HeaderSection, received: HeaderSection
    ) -> None:
        """Take the header section, as the message has it from here on, and as it was `received`."""
        transaction.section = section
        transaction.octets = len(section.octets) + len(section.end)
        transaction.classifier = Classifier(section)
        if len(transaction.recipients) > 1:
            reverse_path = transaction.envelope.reverse_path
            # What we added ourselves is another Message-ID and Date with every attempt.
            transaction.identity = Identity(self._secret, reverse_path, received)
            if transaction.classifier.is_undecided:
                transaction.arrived = self._scratch()

    def _scratch(self) -> Scratch:
        return Scratch(self._spill.directory, self._spill.threshold_octets)

    def _verdict(
        self,
        transaction: Transaction,
        made: Plan,
        treated: tuple[Treated, ...],
        markers: Markers | None,
    ) -> Verdict:
        built = self._builder.build(transaction, made.primary[0])
        header = self._as_edits(transaction, built.header)
        return Verdict(
            treated,
            markers,
            changes=header.changes(),
            additions=header.additions(),
            insertions=header.insertions(),
            body=() if built.body is None else built.body,
            deleted=made.deleted,
            added=made.added,
        )


def _report(transaction: Transaction, treated: Iterable[Treated]) -> None:
    metrics.OCTETS.inc(transaction.octets)
    copies = []
    for each in treated:
        metrics.MESSAGES_BY_TREATMENT[each.treatment].inc()
        copies.append({"reason": each.treatment.value, "fingerprint": each.recipient.fingerprint})
    log.outcome("accepted", queue_id=transaction.envelope.queue_id, copies=copies)
