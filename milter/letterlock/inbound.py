"""Mail that comes in from outside: who vouches for it is found out, and kept inside.

The verdicts on a message stand in front of its own header fields, in the payload. Those of
DKIM are known only when the body is complete, so a body that a signature depends on is held
until then, encrypted under a key of its own, and goes into the ciphertexts at the end.
"""

from dataclasses import dataclass

from keyservice.client import Outcome
from letterlock import evidence, payloads
from letterlock.attached import Attached
from letterlock.authentication import Authenticator
from letterlock.ciphertext import Spill
from letterlock.gateway import Effects, Gateway
from letterlock.header_protection import Recorded
from letterlock.message import HeaderSection
from letterlock.reporter import Reporter
from letterlock.transaction import Transaction
from letterlock.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Vouching:
    """How it is found out, and who is told."""

    authenticator: Authenticator
    reporter: Reporter | None = None
    """None: certificates that come with mail are nobody's business."""


class Inbound(Gateway):
    """The role of an MX."""

    def __init__(
        self,
        effects: Effects,
        authserv_id: str,
        secret: bytes,
        spill: Spill,
        vouching: Vouching,
    ) -> None:
        super().__init__(effects, authserv_id, secret, spill)
        self._vouching = vouching

    def end_of_header(self, transaction: Transaction, section: HeaderSection) -> None:
        """Take the header section; the ciphertexts begin, or the body is held.

        Raises SpillFailed.
        """
        self._open(transaction, section, section)
        if _is_for_us(transaction):
            transaction.inquiry = self._vouching.authenticator.begin(
                transaction.client, transaction.envelope.reverse_path, section
            )
            if self._vouching.reporter is not None:
                transaction.attached = Attached(section)
        if transaction.inquiry is not None and transaction.inquiry.needs_body:
            transaction.held = self._scratch()
        else:
            self._judge(transaction)
            payloads.begin(transaction, self._spill)

    def accepted(self, transaction: Transaction, verdict: Verdict) -> None:
        """Postfix has taken all that the verdict wanted: now the sender's certificate counts."""
        super().accepted(transaction, verdict)
        findings, attached = transaction.findings, transaction.attached
        if self._vouching.reporter is None or findings is None or attached is None:
            return
        report = evidence.report(
            transaction.section,
            int(self._effects.clock()),
            findings.signatures,
            findings.is_spam,
            attached.close(),
        )
        if report is not None:
            self._vouching.reporter.offer(report)

    def _watch(self, transaction: Transaction, chunk: bytes) -> None:
        if transaction.held is not None and transaction.inquiry is not None:
            transaction.inquiry.write(chunk)
        if transaction.attached is not None:
            transaction.attached.write(chunk)

    def _complete(self, transaction: Transaction) -> None:
        if transaction.held is not None:
            self._judge(transaction)
            payloads.begin_late(transaction, self._spill)

    def _judge(self, transaction: Transaction) -> None:
        if transaction.inquiry is not None:
            found = transaction.findings = transaction.inquiry.close()
            transaction.recorded = Recorded(found.field, found.forged)


def _is_for_us(transaction: Transaction) -> bool:
    return any(r.answer.outcome is not Outcome.OUTSIDE for r in transaction.recipients.values())
