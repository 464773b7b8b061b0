"""The copies of a transaction beside its primary: built, sent, and remembered as sent."""

from dataclasses import dataclass

from letterlock import log, metrics, outgoing
from letterlock.markers import Markers, Store
from letterlock.outgoing import Builds
from letterlock.plan import Treated
from letterlock.reentry import Copy, ReentryPort
from letterlock.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Copies:
    """Sends what re-enters."""

    builder: Builds
    port: ReentryPort
    store: Store

    def send(self, transaction: Transaction, copies: tuple[Treated, ...]) -> Markers | None:
        """Have each of `copies` accepted, save for those that an earlier attempt got accepted.

        Returns the markers to settle once the whole transaction is. Raises ReentryFailed.
        """
        if not copies or transaction.identity is None:
            return None
        paths = [path.address for path in transaction.finals]
        markers = Markers(self.store, transaction.identity, paths)
        with metrics.REENTRY_SECONDS.time(), self.port.connect() as session:
            for treated in copies:
                mailbox = treated.recipient.mailbox
                if markers.accepted_before(mailbox):
                    metrics.COPIES_ACCEPTED_BEFORE.inc()
                    continue
                copy = session.send(self._copy(transaction, treated))
                log.outcome("reentered", queue_id=transaction.envelope.queue_id, copy=copy)
                markers.accepted(mailbox)
                metrics.COPIES_ACCEPTED.inc()
        return markers

    def _copy(self, transaction: Transaction, treated: Treated) -> Copy:
        built = self.builder.build(transaction, treated)
        return Copy(
            reverse_path=transaction.envelope.reverse_path,
            parameters=transaction.envelope.parameters,
            recipients=tuple(treated.recipient.addresses.items()),
            octets=outgoing.octets(built, transaction),
        )
