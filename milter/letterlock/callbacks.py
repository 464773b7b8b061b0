"""pymilter: libmilter's callbacks, handed on to `session`.

The only importer of pymilter, and of its C module alone: the class above it calls five
functions for each header field. The traps of both, met here and tested in tests/wire:

* An exception in a callback without reply is swallowed and the message accepted. So every
  one is caught and marks the transaction failed.
* Less may be granted than was asked for. So what was negotiated is checked at every MAIL:
  with anything less the original could not be restored.
* A thread belongs to a session for one callback only: nothing may be bound to it.
"""

from collections.abc import Callable
from enum import Enum
from typing import Any

import milter

from letterlock.gateway import Gateway
from letterlock.reply import SMTPReply
from letterlock.session import Counting, Session
from letterlock.verdict import Verdict

_NOT_TOLD = milter.P_NOCONNECT | milter.P_NOHELO
_NO_REPLIES = milter.P_NR_MAIL | milter.P_NR_HDR | milter.P_NR_EOH | milter.P_NR_BODY
_NOT_CALLED = milter.P_NODATA | milter.P_NOUNKNOWN
_TOLD = milter.P_NR_CONN | milter.P_NR_HELO

# Without leading space, ` X` and `X` as a field body are the same, and the original is lost.
_NEEDED = milter.P_HDR_LEADSPC | _NO_REPLIES
_ACTIONS = (
    milter.CHGBODY
    | milter.CHGHDRS
    | milter.ADDHDRS
    | milter.ADDRCPT
    | milter.ADDRCPT_PAR
    | milter.DELRCPT
)

_CONTINUE, _TEMPFAIL, _REJECT, _SILENCE = (
    int(code) for code in (milter.CONTINUE, milter.TEMPFAIL, milter.REJECT, milter.NOREPLY)
)

_Context = Any
_Step = Callable[..., None]


class Curiosity(Enum):
    """What a role wants to know of the client."""

    NOTHING = "nothing"
    WHENCE = "whence"
    """Its address and how it introduced itself."""

    WHO = "who"
    """Also as whom it has authenticated itself."""


def serve(
    gateway: Gateway,
    sessions: Counting,
    listening: int,
    timeout_seconds: int,
    curiosity: Curiosity = Curiosity.NOTHING,
) -> None:
    """Answer Postfix on the listening socket with descriptor `listening` until told to stop.

    `fd:` is Debian's addition to libmilter (socket activation).
    """
    # HELO's macros are those of TLS (milter_helo_macros), and come only with its callback.
    needed = _NEEDED | (0 if curiosity is Curiosity.NOTHING else _TOLD)
    wanted = needed | _NOT_CALLED | (_NOT_TOLD if curiosity is Curiosity.NOTHING else 0)

    def negotiate(context: _Context, options: list[int]) -> int:
        actions, protocol = options[0] & _ACTIONS, options[1] & wanted
        complete = actions == _ACTIONS and protocol & needed == needed
        missing = "" if complete else f"granted: actions {actions:#x}, protocol {protocol:#x}"
        context.setpriv(Session(gateway, sessions, missing))
        options[:] = [actions, protocol, 0, 0]
        return _CONTINUE

    if curiosity is not Curiosity.NOTHING:
        milter.set_connect_callback(_connect)
        milter.set_helo_callback(_unanswered(Session.helo))
    milter.set_envfrom_callback(_mail if curiosity is Curiosity.WHO else _unanswered(Session.mail))
    milter.set_envrcpt_callback(_rcpt)
    milter.set_header_callback(_header)
    milter.set_eoh_callback(_end_of_header)
    milter.set_body_callback(_unanswered(Session.body))
    milter.set_eom_callback(_end_of_message)
    milter.set_abort_callback(_abort)
    milter.set_close_callback(_close)
    milter.set_flags(_ACTIONS)
    milter.setconn(f"fd:{listening}")
    milter.settimeout(timeout_seconds)
    milter.register("letterlock", negotiate=negotiate)
    milter.opensocket(False)
    milter.main()


def _unanswered(step: _Step) -> Callable[..., int]:
    """Return a callback that takes `step` in its session, and whose reply is negotiated away."""

    def callback(context: _Context, *arguments: object) -> int:
        session = context.getpriv()
        if session is None:
            return _TEMPFAIL
        try:
            step(session, *arguments)
        except Exception as error:  # noqa: BLE001 (the last line of defence)
            session.fail(error)
        return _SILENCE

    return callback


def _header(context: _Context, name: str, value: bytes) -> int:
    # The same as above in one call: a message has dozens of fields.
    session = context.getpriv()
    if session is None:
        return _TEMPFAIL
    try:
        session.fields.append((name, value))
    except Exception as error:  # noqa: BLE001 (the last line of defence)
        session.fail(error)
    return _SILENCE


def _with_address(session: Session, name: str, host: object) -> None:
    address = host[0] if isinstance(host, tuple) else ""
    session.connect(name, str(address))


_unanswered_connect = _unanswered(_with_address)


def _connect(context: _Context, name: str, _family: int, host: object) -> int:
    return _unanswered_connect(context, name, host)


def _with_identity(
    session: Session, context: _Context, argument: bytes, *parameters: bytes
) -> None:
    client = session.client
    client.login = context.getsymval("{auth_authen}") or ""
    # Postfix tells both of a verified chain only (smtpd_milter.c, IF_TRUSTED).
    client.certificate_subject = context.getsymval("{cert_subject}") or ""
    client.certificate_issuer = context.getsymval("{cert_issuer}") or ""
    session.mail(argument, *parameters)


_unanswered_mail = _unanswered(_with_identity)


def _mail(context: _Context, argument: bytes, *parameters: bytes) -> int:
    return _unanswered_mail(context, context, argument, *parameters)


def _with_queue_id(session: Session, context: _Context) -> None:
    session.end_of_header(context.getsymval("i") or "")


_unanswered_end_of_header = _unanswered(_with_queue_id)


def _end_of_header(context: _Context) -> int:
    return _unanswered_end_of_header(context, context)


def _rcpt(context: _Context, argument: bytes, *parameters: bytes) -> int:
    session = context.getpriv()
    return _TEMPFAIL if session is None else _reply(context, session.rcpt(argument, *parameters))


def _end_of_message(context: _Context) -> int:
    session = context.getpriv()
    if session is None:
        return _TEMPFAIL
    return _reply(context, session.end_of_message(lambda verdict: apply(verdict, context)))


def _abort(context: _Context) -> int:
    if session := context.getpriv():
        session.reset()
    return _CONTINUE


def _close(context: _Context) -> int:
    if session := context.getpriv():
        context.setpriv(None)
        session.close()
    return _CONTINUE


def apply(verdict: Verdict, context: _Context) -> None:
    """Tell Postfix what to do with the message that it holds."""
    for name, occurrence, value in verdict.changes:
        context.chgheader(name, occurrence, value)
    for name, value in verdict.additions:
        context.addheader(name, value, -1)
    for name, value in verdict.insertions:
        context.addheader(name, value, 0)
    for piece in verdict.body:
        context.replacebody(piece)
    for path in verdict.deleted:
        context.delrcpt(path.argument)
    for address, parameters in verdict.added:
        context.addrcpt(f"<{address}>", " ".join(parameters) or None)


def _reply(context: _Context, reply: SMTPReply | None) -> int:
    if reply is None:
        return _CONTINUE
    context.setreply(str(reply.code), reply.enhanced, reply.text)
    return _TEMPFAIL if reply.code < 500 else _REJECT
