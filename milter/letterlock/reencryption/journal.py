"""The one thing that is under way, written down before it begins."""

import os
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from letterlock.durable import sync

Record = TypeVar("Record", bound=msgspec.Struct)


class Journal(Generic[Record]):
    """A file that holds a record while what it describes is not finished."""

    def __init__(self, path: Path, record: type[Record]) -> None:
        """`record`: the type of what is written down."""
        self._path = path
        self._decoder = msgspec.json.Decoder(record)

    def begin(self, record: Record) -> None:
        """Write down what will be done; it outlives a power cut from here on."""
        new = self._path.with_name(f"{self._path.name}.new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "wb") as file:
            file.write(msgspec.json.encode(record))
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
        sync(self._path.parent)

    def settle(self) -> None:
        """It is done, or undone."""
        # Reached twice, the end of a thing is reached: this need not outlive a power cut.
        self._path.unlink(missing_ok=True)

    def unfinished(self) -> Record | None:
        """Return what an earlier run began. Raises ValueError if it cannot be read."""
        try:
            return self._decoder.decode(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as error:
            raise ValueError(f"{self._path}: {error}") from None
