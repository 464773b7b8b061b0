"""What the engine wants of a place that holds mail."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar


class StoreFailed(Exception):
    """The store takes or gives nothing more: stop. What was done stays done."""


class MessageFailed(Exception):
    """One message could not be read or replaced, and is as it was. Holds nothing of it."""


class Reference(NamedTuple):
    """Where a message is, as an operator finds it."""

    folder: str
    name: str
    """What it keeps as long as it is there unchanged: base file name, or UID."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A message as it lies there."""

    reference: Reference
    octets: bytes
    stored_at: float
    """Seconds since 1970."""


class Done(NamedTuple):
    """What has become of messages that were to be replaced."""

    replaced: tuple[Reference, ...] = ()
    """Where their encrypted form is now."""

    gone: int = 0
    """Moved, changed or removed by somebody else meanwhile; what was made of them is gone, too."""

    def plus(self, other: "Done") -> "Done":
        """Return both."""
        return Done(self.replaced + other.replaced, self.gone + other.gone)


Message = TypeVar("Message", bound=Stored)


class Store(Protocol[Message]):
    """Any method may raise StoreFailed or OSError."""

    def recover(self) -> int:
        """Finish what an earlier run left half done; return how many messages that was."""

    def folders(self) -> Sequence[str]:
        """Return all folders."""

    def references(self, folder: str) -> Sequence[Reference]:
        """Return what is in a folder now; nothing if that is gone."""

    def read(self, reference: Reference) -> Message | None:
        """Return the message; None if it is not there any more. Raises MessageFailed."""

    def replace(self, message: Message, octets: bytes) -> Done:
        """Put `octets` in its place, now or with one of the next calls. Raises MessageFailed.

        At every moment one of the two is there whole.
        """

    def settle(self) -> Done:
        """Do what `replace` has not done yet."""

    def finish(self) -> Iterable[str]:
        """Remove what was derived from plaintext; yield in words what is left to do."""

    def close(self) -> None:
        """Let go of it."""
