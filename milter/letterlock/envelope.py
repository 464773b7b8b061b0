"""The envelope of one mail transaction (RFC 5321 §2.3.1), as Postfix tells it to a milter."""

from dataclasses import dataclass, field

_FOR_MAIL = ("RET=", "ENVID=", "BODY=", "SMTPUTF8")
_FOR_RCPT = ("NOTIFY=", "ORCPT=")


@dataclass(frozen=True, slots=True)
class ForwardPath:
    """One RCPT TO: `argument` as Postfix wrote it, `address` without angle brackets."""

    argument: str
    address: str
    parameters: tuple[str, ...] = ()
    """What a copy must carry on (RFC 3461 §4.1, §4.2)."""

    @classmethod
    def from_milter(cls, argument: str, *parameters: str) -> "ForwardPath":
        """Take what the milter's RCPT callback got."""
        return cls(argument, _bare(argument), _kept(parameters, _FOR_RCPT))


@dataclass(slots=True)
class Envelope:
    """MAIL FROM and what belongs to it."""

    reverse_path: str
    """Without angle brackets; empty for the null reverse-path (RFC 5321 §4.5.5)."""

    parameters: tuple[str, ...] = ()
    queue_id: str = ""
    forward_paths: list[ForwardPath] = field(default_factory=list)

    @classmethod
    def from_milter(cls, argument: str, *parameters: str) -> "Envelope":
        """Take what the milter's MAIL callback got."""
        return cls(_bare(argument), _kept(parameters, _FOR_MAIL))


def _bare(argument: str) -> str:
    # smtpd passes `<a@b>`; for sendmail(1) and bounces Postfix passes a bare `a@b`.
    if argument.startswith("<") and argument.endswith(">"):
        return argument[1:-1]
    return argument


def _kept(parameters: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(p for p in parameters if p.upper().startswith(names))
