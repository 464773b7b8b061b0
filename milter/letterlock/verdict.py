"""What the gateway says in the end."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from letterlock.envelope import ForwardPath
from letterlock.errors import LetterlockError
from letterlock.markers import Markers
from letterlock.outer_header import Change
from letterlock.plan import Treated
from letterlock.policy import Treatment
from letterlock.reply import SMTPReply, naming

_NAMING = frozenset({Treatment.REJECT_PEER_UNKNOWN})
"""Refusals of a whole message that say because of whom: the sender's own user reads them."""

_NO_FINALS: Mapping[ForwardPath, tuple[str, ...]] = MappingProxyType({})


class Refused(LetterlockError):
    """The table refuses a recipient."""

    reason = "refused_at_end"

    def __init__(self, treatment: Treatment, reply: SMTPReply) -> None:
        super().__init__(treatment.value)
        self.treatment = treatment
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Verdict:
    """What Postfix is to do with the message that it holds."""

    treated: tuple[Treated, ...]
    markers: Markers | None = None
    changes: Iterable[Change] = ()
    additions: Iterable[tuple[str, str]] = ()
    insertions: Iterable[tuple[str, str]] = ()
    """Each goes before all other header fields."""

    body: Iterable[bytes] = ()
    """Pieces of the new body; none: it stays as it is."""

    deleted: tuple[ForwardPath, ...] = ()
    added: tuple[tuple[str, tuple[str, ...]], ...] = ()


def require_none_refused(
    treated: Iterable[Treated], finals: Mapping[ForwardPath, tuple[str, ...]] = _NO_FINALS
) -> None:
    """Raise Refused for the first refusal; one that is temporary goes first.

    `finals`: the mailboxes (keys) behind each forward-path.
    """
    refused = [t for t in treated if t.treatment.refusal is not None]
    refusals = [(t.treatment, r) for t in refused if (r := t.treatment.refusal) is not None]
    for treatment, reply in sorted(refusals, key=lambda refusal: refusal[1].code):
        if treatment in _NAMING:
            keys = {t.recipient.mailbox.key for t in refused if t.treatment is treatment}
            # As the sender wrote them: where an alias leads is not for him to know.
            named = [path.address for path, of in finals.items() if not keys.isdisjoint(of)]
            reply = naming(reply, named)
        raise Refused(treatment, reply)
