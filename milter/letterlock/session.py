"""One SMTP session as libmilter reports it, and the transactions in it.

Whatever goes wrong marks the transaction failed: from there on nothing is done for it, and
its end is the refusal that the first failure named. Nothing of pymilter is in here.
"""

import threading
from collections.abc import Callable
from time import perf_counter

from letterlock import log, metrics
from letterlock.envelope import Envelope, ForwardPath
from letterlock.errors import CallbackOrder, LetterlockError, MailboxMalformed, NotNegotiated
from letterlock.gateway import Gateway
from letterlock.message import HeaderSection
from letterlock.reply import TRY_LATER, SMTPReply
from letterlock.smtp_client import SMTPClient
from letterlock.transaction import Transaction
from letterlock.verdict import Refused, Verdict


class Session:
    """One SMTP session; any number of transactions, one after another."""

    def __init__(self, gateway: Gateway, sessions: "Counting", missing: str) -> None:
        """`missing`: what of the needed was not negotiated; empty where nothing is."""
        self._gateway = gateway
        self._sessions = sessions
        self._missing = missing
        self._transaction: Transaction | None = None
        self.client = SMTPClient()
        """Who is at the other end, as far as the role is told."""

        self.fields: list[tuple[str, bytes]] = []
        """Header fields of the transaction, as libmilter reports them."""

        self._failure: SMTPReply | None = None
        self._sessions.opened()

    def connect(self, name: str, address: str) -> None:
        """A client has connected."""
        # Postfix says so where the name does not lead back to the address.
        self.client = SMTPClient(address=address, name="" if name == "unknown" else name)

    def helo(self, domain: str) -> None:
        """HELO or EHLO; another one may follow, after STARTTLS for instance."""
        self.client.helo = domain

    def mail(self, argument: bytes, *parameters: bytes) -> None:
        """MAIL: a new transaction, with nothing left of the one before."""
        self.reset()
        envelope = Envelope.from_milter(*_texts(argument, *parameters))
        self._transaction = Transaction(envelope, self.client)
        if self._missing:
            raise NotNegotiated(self._missing)

    def rcpt(self, argument: bytes, *parameters: bytes) -> SMTPReply | None:
        """RCPT: the one callback before the end that answers."""
        began = perf_counter()
        try:
            path = ForwardPath.from_milter(*_texts(argument, *parameters))
            self._gateway.recipient(self._running(), path)
        except MailboxMalformed as error:
            # As below. One address that is none must not bounce the others' mail.
            metrics.FAILURES.labels(error.reason).inc()
            log.failure("recipient_refused", reason=error.reason, detail=str(error))
            return error.reply
        except Refused as refused:
            # This recipient only; the transaction goes on for the others.
            metrics.MESSAGES_BY_TREATMENT[refused.treatment].inc()
            log.outcome("recipient_refused", reason=refused.treatment.value)
            return refused.reply
        except Exception as error:  # noqa: BLE001 (the last line of defence)
            self.fail(error)
        metrics.RCPT_SECONDS.observe(perf_counter() - began)
        return self._failure

    def end_of_header(self, queue_id: str) -> None:
        """The header section is complete."""
        began = perf_counter()
        transaction = self._running()
        transaction.envelope.queue_id = queue_id
        self._gateway.end_of_header(transaction, HeaderSection.from_milter(self.fields))
        metrics.END_OF_HEADER_SECONDS.observe(perf_counter() - began)

    def body(self, chunk: bytes) -> None:
        """Up to 65,535 octets of the body."""
        if self._failure is None:
            self._gateway.body(self._running(), chunk)

    def end_of_message(self, apply: Callable[[Verdict], None]) -> SMTPReply | None:
        """The end: everything, or nothing. `apply` tells Postfix what to do."""
        began = perf_counter()
        try:
            if self._failure is None:
                verdict = self._gateway.end_of_message(self._running())
                apply(verdict)
                self._gateway.accepted(self._running(), verdict)
        except Exception as error:  # noqa: BLE001 (the last line of defence)
            self.fail(error)
        failure = self._failure
        self.reset()
        metrics.END_OF_MESSAGE_SECONDS.observe(perf_counter() - began)
        return failure

    def fail(self, error: Exception) -> None:
        """From here on the transaction ends in a refusal, whatever else happens."""
        if isinstance(error, LetterlockError):
            reply, reason, details = error.reply, error.reason, {"detail": str(error)}
        else:
            reply, reason, details = TRY_LATER, "internal_error", log.place_of(error)
        self._failure = reply
        metrics.FAILURES.labels(reason).inc()
        queue_id = self._transaction.envelope.queue_id if self._transaction else ""
        log.failure("failed", queue_id=queue_id, reason=reason, **details)

    def reset(self) -> None:
        """Forget the transaction."""
        ended, self._transaction, self._failure = self._transaction, None, None
        self.fields = []
        try:
            if ended is not None:
                ended.discard()
        except Exception as error:  # noqa: BLE001 (it is over with that transaction)
            self.fail(error)
            self._failure = None

    def close(self) -> None:
        """The session ended."""
        self.reset()
        self._sessions.closed()

    def _running(self) -> Transaction:
        if self._transaction is None:
            raise CallbackOrder("no transaction is running")
        return self._transaction


class Counting:
    """How many sessions are open; a worker leaves when there are none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.open = 0
        """Sessions that began and have not ended."""

    def opened(self) -> None:
        """A session began."""
        with self._lock:
            self.open += 1

    def closed(self) -> None:
        """A session ended."""
        with self._lock:
            self.open -= 1


def _texts(*arguments: bytes) -> list[str]:
    # What is not UTF-8 (RFC 6531 §3.3) is no mailbox, and found out where addresses are parsed.
    return [argument.decode(errors="surrogateescape") for argument in arguments]
