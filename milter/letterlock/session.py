"""pymilter's callbacks: take what Postfix says, hand it to the gateway, apply the verdict.

The only importer of pymilter. Its traps, met here and tested in tests/wire:

* An exception in a callback without reply is swallowed and the message accepted. So every
  callback is `_guarded`: whatever happens marks the transaction failed, and 451 is the end.
* `negotiate` swallows its own errors and falls back to less. So what was negotiated is
  checked at every MAIL; with anything less the original could not be restored.
* An attribute named like a callback breaks the session's next message. None is.
"""

import threading
from collections.abc import Callable
from functools import wraps
from time import perf_counter
from typing import Any

import Milter

from letterlock import log, metrics
from letterlock.envelope import Envelope, ForwardPath
from letterlock.errors import CallbackOrder, LetterlockError, MailboxMalformed, NotNegotiated
from letterlock.gateway import Gateway
from letterlock.message import HeaderField
from letterlock.reply import TRY_LATER, SMTPReply
from letterlock.transaction import Transaction
from letterlock.verdict import Refused, Verdict

NEEDED = (
    Milter.P_HDR_LEADSPC  # else ` X` and `X` are the same, and the original is lost
    | Milter.P_NR_MAIL
    | Milter.P_NR_HDR
    | Milter.P_NR_EOH
    | Milter.P_NR_BODY
)
ACTIONS = (
    Milter.CHGBODY
    | Milter.CHGHDRS
    | Milter.ADDHDRS
    | Milter.ADDRCPT
    | Milter.ADDRCPT_PAR
    | Milter.DELRCPT
)

Callback = Callable[..., int]


def _guarded(callback: Callback) -> Callback:
    """Let no exception out: the transaction is marked failed instead."""

    @wraps(callback)
    def guard(self: "Session", *args: Any) -> int:
        try:
            return callback(self, *args)
        except LetterlockError as error:
            self.fail(error.reply, error.reason, {"detail": str(error)})
        except Exception as error:  # noqa: BLE001 (the last line of defence)
            self.fail(TRY_LATER, "internal_error", log.place_of(error))
        return int(Milter.CONTINUE)

    return guard


@Milter.header_leading_space
class Session(Milter.Base):  # type: ignore[misc]  # pymilter is untyped
    """One SMTP session; any number of transactions, one after another."""

    def __init__(self, gateway: Gateway, sessions: "Counting") -> None:
        self._gateway = gateway
        self._sessions = sessions
        self._transaction: Transaction | None = None
        self._failure: SMTPReply | None = None
        self._sessions.opened()

    @Milter.noreply  # type: ignore[untyped-decorator]
    @_guarded
    def envfrom(self, argument: str, *parameters: str) -> int:
        """MAIL: a new transaction, with nothing left of the one before."""
        self._reset()
        self._transaction = Transaction(Envelope.from_milter(argument, *parameters))
        if self._protocol & NEEDED != NEEDED or self._actions & ACTIONS != ACTIONS:
            raise NotNegotiated(f"protocol {self._protocol:#x}, actions {self._actions:#x}")
        return int(Milter.CONTINUE)

    def envrcpt(self, argument: str, *parameters: str) -> int:
        """RCPT: the one callback before the end that answers."""
        try:
            self._recipient(argument, *parameters)
        except MailboxMalformed as error:
            # As below. One address that is none must not bounce the others' mail.
            metrics.FAILURES.labels(error.reason).inc()
            log.failure("recipient_refused", reason=error.reason, detail=str(error))
            return self._reply(error.reply)
        except Refused as refused:
            # This recipient only; the transaction goes on for the others.
            metrics.MESSAGES.labels(
                refused.treatment.disposition.value, refused.treatment.value
            ).inc()
            log.outcome("recipient_refused", reason=refused.treatment.value)
            return self._reply(refused.reply)
        if self._failure is not None:
            return self._reply(self._failure)
        return int(Milter.CONTINUE)

    @Milter.noreply  # type: ignore[untyped-decorator]
    @Milter.decode("bytes")  # type: ignore[untyped-decorator]
    @_guarded
    def header(self, name: str, value: bytes) -> int:
        """One header field, its leading space included."""
        self._running().fields.append(HeaderField.from_milter(name.encode("ascii"), value))
        return int(Milter.CONTINUE)

    @Milter.noreply  # type: ignore[untyped-decorator]
    @_guarded
    def eoh(self) -> int:
        """The header section is complete."""
        transaction = self._running()
        transaction.envelope.queue_id = self.getsymval("i") or ""
        with metrics.PHASE_SECONDS.labels("end_of_header").time():
            self._gateway.end_of_header(transaction)
        return int(Milter.CONTINUE)

    @Milter.noreply  # type: ignore[untyped-decorator]
    @_guarded
    def body(self, chunk: bytes) -> int:
        """Up to 65,535 octets of the body."""
        if self._failure is None:
            self._gateway.body(self._running(), chunk)
        return int(Milter.CONTINUE)

    def eom(self) -> int:
        """The end: everything, or nothing."""
        began = perf_counter()
        self._finish()
        failure = self._failure
        metrics.PHASE_SECONDS.labels("end_of_message").observe(perf_counter() - began)
        self._reset()
        return int(Milter.CONTINUE) if failure is None else self._reply(failure)

    def abort(self) -> int:
        """The transaction ended without an end of message."""
        self._reset()
        return int(Milter.CONTINUE)

    def close(self) -> int:
        """The session ended."""
        self._reset()
        self._sessions.closed()
        return int(Milter.CONTINUE)

    def fail(self, reply: SMTPReply, reason: str, details: dict[str, str]) -> None:
        """From here on the transaction ends in `reply`, whatever else happens."""
        self._failure = reply
        metrics.FAILURES.labels(reason).inc()
        queue_id = self._transaction.envelope.queue_id if self._transaction else ""
        log.failure("failed", queue_id=queue_id, reason=reason, **details)

    @_guarded
    def _finish(self) -> int:
        if self._failure is None:
            transaction = self._running()
            verdict = self._gateway.end_of_message(transaction)
            self._apply(verdict)
            self._gateway.accepted(transaction, verdict)
        return int(Milter.CONTINUE)

    def _recipient(self, argument: str, *parameters: str) -> None:
        try:
            with metrics.PHASE_SECONDS.labels("rcpt").time():
                path = ForwardPath.from_milter(argument, *parameters)
                self._gateway.recipient(self._running(), path)
        except (Refused, MailboxMalformed):
            raise
        except LetterlockError as error:
            self.fail(error.reply, error.reason, {"detail": str(error)})
        except Exception as error:  # noqa: BLE001 (the last line of defence)
            self.fail(TRY_LATER, "internal_error", log.place_of(error))

    def _apply(self, verdict: Verdict) -> None:
        for name, occurrence, value in verdict.changes:
            self.chgheader(name, occurrence, value)
        for name, value in verdict.additions:
            self.addheader(name, value)
        for piece in verdict.body:
            self.replacebody(piece)
        for path in verdict.deleted:
            self.delrcpt(path.argument)
        for address, recipient_parameters in verdict.added:
            self.addrcpt(f"<{address}>", " ".join(recipient_parameters) or None)

    def _running(self) -> Transaction:
        if self._transaction is None:
            raise CallbackOrder("no transaction is running")
        return self._transaction

    def _reply(self, reply: SMTPReply) -> int:
        self.setreply(str(reply.code), reply.enhanced, reply.text)
        return int(Milter.TEMPFAIL if reply.code < 500 else Milter.REJECT)

    @_guarded
    def _reset(self) -> int:
        ended, self._transaction, self._failure = self._transaction, None, None
        if ended is not None:
            # Whatever goes wrong here is over with this transaction.
            ended.discard()
        return int(Milter.CONTINUE)


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


def serve(gateway: Gateway, sessions: Counting, listening: int, timeout_seconds: int) -> None:
    """Answer Postfix on the listening socket with descriptor `listening` until told to stop.

    `fd:` is Debian's addition to libmilter (socket activation).
    """
    Milter.factory = lambda: Session(gateway, sessions)
    Milter.set_flags(ACTIONS)
    Milter.runmilter("letterlock", f"fd:{listening}", timeout_seconds)
