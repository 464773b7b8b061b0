"""A milter that is not the product: its own session, with something in it that goes wrong.

`substitute_milter.py --config FILE --wrong WHAT --role ROLE`. WHAT is where an exception is
raised, or, for the tests of the tests, `leak`: then every seventh message is passed in clear;
or `unsigned`: then what leaves is not signed.
"""

import argparse
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from letterlock import assembly, callbacks, listener, log, metrics, session
from letterlock.config import Config, load
from letterlock.gateway import Gateway
from letterlock.outgoing import Outgoing
from letterlock.plan import Treated
from letterlock.roles import Role
from letterlock.signed import Signed
from letterlock.transaction import Transaction
from letterlock.verdict import Verdict

CANARY = "canaryexception5f0c11"
LEAK_EVERY = 7


def wrong(*arguments: object, **_: object) -> NoReturn:
    """Raise what nobody expects, with a text that must not be logged."""
    raise RuntimeError(f"{CANARY} {arguments!r}")


class Leaking:
    """Has the gateway pass some messages as they are."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._numbers = itertools.count(1)
        self._end = gateway.end_of_message

    def end_of_message(self, transaction: Transaction) -> Verdict:
        """Forget the verdict now and then."""
        verdict = self._end(transaction)
        if next(self._numbers) % LEAK_EVERY:
            return verdict
        return Verdict(verdict.treated)


def break_it(gateway: Gateway, what: str) -> None:
    """Put the fault in."""
    gateway_s: Any = gateway
    session_s: Any = session
    callbacks_s: Any = callbacks
    places: dict[str, Callable[[], None]] = {
        "mail": lambda: setattr(session_s, "Envelope", _WithRaisingFromMilter),
        "rcpt": lambda: setattr(gateway_s, "recipient", wrong),
        "header": lambda: setattr(session_s.Session, "mail", _mail_then_raising_fields),
        "eoh": lambda: setattr(gateway_s, "end_of_header", wrong),
        "body": lambda: setattr(gateway_s, "body", wrong),
        "eom": lambda: setattr(gateway_s, "end_of_message", wrong),
        "accepted": lambda: setattr(gateway_s, "accepted", wrong),
        "apply": lambda: setattr(callbacks_s, "apply", wrong),
        "discard": lambda: setattr(Transaction, "discard", wrong),
        "leak": lambda: setattr(gateway_s, "end_of_message", Leaking(gateway).end_of_message),
        "unsigned": lambda: setattr(Signed, "build", _unsigned),
        "nothing": lambda: None,
    }
    places[what]()


def _unsigned(self: Signed, transaction: Transaction, treated: Treated) -> Outgoing:
    return self.builder.build(transaction, treated)


class _RaisingFields(list[Any]):
    append = wrong


def _mail_then_raising_fields(
    self: session.Session, *arguments: bytes, mail: Callable[..., None] = session.Session.mail
) -> None:
    mail(self, *arguments)
    self.fields = _RaisingFields()


class _WithRaisingFromMilter:
    from_milter = staticmethod(wrong)


def serve(config: Config, what: str, role: Role) -> None:
    """Serve in this one process until killed."""
    metrics.declare()
    gateway, curiosity, _ = assembly.assemble(config, role)
    break_it(gateway, what)
    with listener.listening_sockets(config)[role] as listening:
        callbacks.serve(
            gateway, session.Counting(), listening.fileno(), assembly.IDLE_SECONDS, curiosity
        )


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--wrong", default="nothing")
    parser.add_argument("--role", type=Role, default=Role.INBOUND)
    arguments = parser.parse_args()
    log.set_up()
    serve(load(arguments.config), arguments.wrong, arguments.role)


if __name__ == "__main__":
    main()
