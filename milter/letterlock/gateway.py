"""The one path of a message: envelope, header section and body in; a verdict out.

Knows nothing of the milter protocol. Everything outside of the process comes in through
`Effects`. What it does, in the order in which it happens:

1. each forward-path: final mailboxes, a lookup for each, the table (`policy.treat`);
2. the header section: one ciphertext for every combination of payload form and SEIPD
   version that a recipient needs;
3. each piece of the body: into the ciphertexts, and before the eyes of the classifier;
4. the end: the table again, now with what arrived; then the plan, the copies, the verdict.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from keyservice.client import Answer, Mailbox
from letterlock import log, metrics
from letterlock.aliases import FinalRecipient
from letterlock.ciphertext import Ciphertext, Spill
from letterlock.classify import Classifier, is_for
from letterlock.copies import Copies
from letterlock.envelope import ForwardPath
from letterlock.errors import CallbackOrder, SpillFailed
from letterlock.header_protection import inexact, payload_head
from letterlock.markers import Identity, Markers, Store
from letterlock.message import HeaderSection
from letterlock.openpgp import EncryptedMessage
from letterlock.openpgp.scratch import Scratch
from letterlock.outgoing import Builder
from letterlock.own_fields import ENCRYPTED_HEADER_OCTETS_MAX
from letterlock.plan import UNCHANGED, Plan, Treated, plan
from letterlock.policy import Treatment, treat
from letterlock.reentry import ReentryPort
from letterlock.subkeys import usable_subkeys
from letterlock.transaction import Recipient, Transaction
from letterlock.verdict import Verdict, require_none_refused


@dataclass(frozen=True, slots=True)
class Effects:
    """All that the gateway knows of the world."""

    resolve: Callable[[str], tuple[FinalRecipient, ...]]
    lookup: Callable[[Mailbox], Answer]
    reentry: ReentryPort
    markers: Store
    clock: Callable[[], float]
    random: Callable[[int], bytes]


class Gateway:
    """Judges transactions; holds nothing of them itself."""

    def __init__(self, effects: Effects, authserv_id: str, secret: bytes, spill: Spill) -> None:
        self._effects = effects
        self._builder = Builder(authserv_id, effects.clock, effects.random)
        self._copies = Copies(self._builder, effects.reentry, effects.markers)
        self._secret = secret
        self._spill = spill

    def recipient(self, transaction: Transaction, path: ForwardPath) -> None:
        """Take a forward-path into the transaction; all of its final mailboxes, or none.

        Raises Refused, TablesUnavailable, MailboxMalformed.
        """
        finals = self._effects.resolve(path.address)
        found = [self._recipient(transaction, final) for final in finals]
        require_none_refused(self._treated(transaction, recipient, None) for recipient in found)
        for final, recipient in zip(finals, found, strict=True):
            known = transaction.recipients.setdefault(recipient.mailbox.key, recipient)
            known.addresses.setdefault(final.address, path.parameters)
        transaction.finals[path] = tuple(recipient.mailbox.key for recipient in found)

    def end_of_header(self, transaction: Transaction, section: HeaderSection) -> None:
        """Begin the ciphertexts. Raises SpillFailed."""
        transaction.section = section
        transaction.octets = len(section.octets) + len(section.end)
        transaction.classifier = Classifier(section)
        for recipient in transaction.recipients.values():
            needed = recipient.form, recipient.seipd
            if recipient.subkeys and needed not in transaction.ciphertexts:
                ciphertext = Ciphertext(recipient.seipd, self._spill)
                transaction.ciphertexts[needed] = ciphertext
                ciphertext.write(payload_head(section, recipient.form, inexact(section)))
        if len(transaction.recipients) > 1:
            self._prepare_copies(transaction)

    def body(self, transaction: Transaction, chunk: bytes) -> None:
        """Encrypt some more of the body. Raises SpillFailed."""
        transaction.octets += len(chunk)
        for ciphertext in transaction.ciphertexts.values():
            ciphertext.write(chunk)
        if transaction.classifier is not None:
            transaction.classifier.write(chunk)
        if transaction.identity is not None:
            transaction.identity.update(chunk)
        if transaction.arrived is not None:
            _set_aside(transaction.arrived, chunk)

    def end_of_message(self, transaction: Transaction) -> Verdict:
        """Have every copy but the primary accepted, and return what the primary becomes.

        Raises Refused, ReentryFailed, SpillFailed, RecipientsLost: then nothing may be stored.
        """
        if transaction.classifier is None:
            raise CallbackOrder("end of message without end of header")
        for ciphertext in transaction.ciphertexts.values():
            ciphertext.close()
        arrived = transaction.classifier.close()
        treated = [self._treated(transaction, r, arrived) for r in transaction.recipients.values()]
        require_none_refused(treated)
        made = plan(treated, transaction.finals)
        markers = self._copies.send(transaction, made.copies)
        return self._verdict(transaction, made, tuple(treated), markers)

    def accepted(self, transaction: Transaction, verdict: Verdict) -> None:
        """Postfix has taken all that the verdict wanted."""
        if verdict.markers is not None:
            verdict.markers.settle()
        _report(transaction, verdict.treated)

    def _recipient(self, transaction: Transaction, final: FinalRecipient) -> Recipient:
        if known := transaction.recipients.get(final.mailbox.key):
            return known
        answer = self._effects.lookup(final.mailbox)
        return Recipient(final.mailbox, answer, usable_subkeys(answer, self._effects.clock()))

    def _treated(
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
        encrypted = self._builder.encrypted_header(transaction, recipient)
        return len(encrypted) <= ENCRYPTED_HEADER_OCTETS_MAX

    def _prepare_copies(self, transaction: Transaction) -> None:
        reverse_path = transaction.envelope.reverse_path
        transaction.identity = Identity(self._secret, reverse_path, transaction.section)
        if transaction.classifier is not None and transaction.classifier.is_undecided:
            transaction.arrived = Scratch(self._spill.directory, self._spill.threshold_octets)

    def _verdict(
        self,
        transaction: Transaction,
        made: Plan,
        treated: tuple[Treated, ...],
        markers: Markers | None,
    ) -> Verdict:
        first = made.primary[0]
        if first.treatment in UNCHANGED:
            return Verdict(treated, markers, deleted=made.deleted, added=made.added)
        built = self._builder.build(transaction, first)
        return Verdict(
            treated,
            markers,
            changes=built.header.changes(),
            additions=built.header.additions(),
            body=() if built.body is None else built.body,
            deleted=made.deleted,
            added=made.added,
        )


def _report(transaction: Transaction, treated: Iterable[Treated]) -> None:
    metrics.OCTETS.inc(transaction.octets)
    copies = []
    for each in treated:
        metrics.MESSAGES_BY_TREATMENT[each.treatment].inc()
        copies.append(
            {"reason": each.treatment.value, "fingerprint": each.recipient.answer.fingerprint}
        )
    log.outcome("accepted", queue_id=transaction.envelope.queue_id, copies=copies)


def _set_aside(scratch: Scratch, chunk: bytes) -> None:
    try:
        scratch.write(chunk)
    except OSError as error:
        raise SpillFailed(f"spill file: {error.strerror}") from None
