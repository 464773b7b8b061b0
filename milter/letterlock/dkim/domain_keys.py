"""Changes to the signing keys of one domain, each of them safe to repeat.

While one runs, another for the same domain waits. All raise SigningImpossible where files
cannot be used, OSError where they cannot be written, and KeysRefused.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Self

from letterlock.dkim import key_files
from letterlock.dkim.key_files import Key, State
from letterlock.dkim.key_record import Publication, record_name, zone_lines
from letterlock.dkim.rotation import activated, in_state, is_record_needed, new_keys
from letterlock.dkim.signer import Signer

Look = Callable[[str, Signer], Publication]
"""Returns what the DNS says about a key of a domain."""


class KeysRefused(Exception):
    """What was asked would be wrong; the text says why, and `record` what is to be published."""

    def __init__(self, text: str, record: str = "") -> None:
        super().__init__(text)
        self.record = record


class Taken(NamedTuple):
    """Which keys changed their state."""

    now_active: tuple[Key, ...]
    now_retired: tuple[Key, ...]


class DomainKeys:
    """The keys of `domain` (lower case, A-labels) in a directory."""

    def __init__(self, directory: Path, domain: str) -> None:
        """Raise SigningImpossible if `domain` is none."""
        self.domain = domain
        self._folder = key_files.folder_of(directory, domain)

    @classmethod
    def existing(cls, directory: Path, domain: str) -> Self:
        """Raise KeysRefused if there are no keys."""
        found = cls(directory, domain)
        if not found.known():
            raise KeysRefused(f"{domain} has no keys in {directory}")
        return found

    def known(self) -> tuple[Key, ...]:
        """Return what is known of the keys."""
        return key_files.read_keys(self._folder)

    def signer(self, key: Key) -> Signer:
        """Return the key itself."""
        return key_files.read_signer(self._folder, key)

    def generate(self, bits: int, now: int) -> tuple[Key, ...]:
        """Make and return the first keys."""
        key_files.make_folder(self._folder)
        with key_files.locked(self._folder):
            if self.known():
                raise KeysRefused(f"{self.domain} has keys; `rotate` is what replaces them")
            return self._make(bits, now)

    def rotate(self, bits: int, now: int) -> tuple[Key, ...]:
        """Return the new keys; make them if there are none."""
        with key_files.locked(self._folder):
            return in_state(self.known(), State.NEW) or self._make(bits, now)

    def activate(self, look: Look, now: int) -> Taken:
        """Let the new keys take over, if the DNS has the records of all."""
        with key_files.locked(self._folder):
            keys = self.known()
            new = in_state(keys, State.NEW)
            if not new:
                return Taken((), ())
            for key in new:
                self._require_published(key, look)
            key_files.write_keys(self._folder, activated(keys, now))
        return Taken(new, in_state(keys, State.ACTIVE))

    def remove(self, now: int) -> tuple[Key, ...]:
        """Delete the retired keys that nobody needs any more, and return them."""
        with key_files.locked(self._folder):
            keys = self.known()
            retired = in_state(keys, State.RETIRED)
            gone = tuple(key for key in retired if not is_record_needed(key, now))
            key_files.write_keys(self._folder, tuple(key for key in keys if key not in gone))
            for key in gone:
                key_files.key_file(self._folder, key).unlink(missing_ok=True)
        return gone

    def _make(self, bits: int, now: int) -> tuple[Key, ...]:
        keys = self.known()
        # A file without a line in the listing is left by a command that was killed.
        new = new_keys(keys, {path.stem for path in self._folder.glob("*.pem")}, now)
        for key in new:
            signer = Signer.generate(key.selector, key.key_type, bits)
            key_files.write_signer(self._folder, signer)
        # Last: what it names is complete.
        key_files.write_keys(self._folder, keys + new)
        return new

    def _require_published(self, key: Key, look: Look) -> None:
        signer = self.signer(key)
        found = look(self.domain, signer)
        if not found.is_right:
            name = record_name(self.domain, key.selector)
            record = zone_lines(self.domain, signer)
            raise KeysRefused(f"{name}: {found.text}; nothing was changed", record)
