"""Which copies of a message were accepted already, so that a retry does not deliver twice.

A transaction can die after some of its copies re-entered and before the peer read the
reply; the peer then sends the message again, perhaps to another MX host. Each accepted
copy leaves a marker in Redis until the whole transaction is accepted. Redis may lose
markers, which costs a duplicate; it cannot make one up, which would cost a message:
a marker is an HMAC under a secret that Redis does not hold.
"""

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from typing import Protocol

from keyservice.client import Mailbox
from letterlock.message import HeaderSection

LIFETIME_SECONDS = 5 * 86_400
"""Senders give up after four to five days (RFC 5321 §4.5.4.1)."""

_SETTLING_SECONDS = 600
"""Between our word and Postfix's reply to the peer lies a moment in which a host can die."""

# Not the whole header section: milters before us write fields that differ with every try.
_IDENTIFYING = (b"message-id", b"date", b"from", b"to", b"cc", b"subject")


class Store(Protocol):
    """A key-value store that may fail: then get() returns None and the others do nothing."""

    def get(self, name: str) -> bytes | None:
        """Return the value under `name`."""

    def set(self, name: str, value: bytes, seconds: int) -> None:
        """Keep `value` under `name` for `seconds`."""

    def delete(self, names: Iterable[str]) -> None:
        """Forget `names`."""


class Identity:
    """What makes two transactions attempts at the same one; grows with the body."""

    def __init__(self, secret: bytes, reverse_path: str, section: HeaderSection) -> None:
        self._secret = secret
        # RFC 5322 §3.6.4: with one, another message that is the same is a repetition.
        self.is_unique = bool(section.named(b"message-id"))
        self._mac = hmac.new(secret, reverse_path.encode(errors="replace"), hashlib.sha256)
        for field in section:
            if field.key in _IDENTIFYING:
                self._mac.update(b"\0" + field.octets)
        self._mac.update(b"\0\0")

    def update(self, chunk: bytes) -> None:
        """Take some more of the body."""
        self._mac.update(chunk)

    def marker(self, mailbox: Mailbox, forward_paths: Iterable[str] = ()) -> tuple[str, bytes]:
        """Return the name and the value of the marker of the copy for `mailbox`.

        With `forward_paths` it is a marker of the transaction that named exactly these.
        """
        mac = self._mac.copy()
        for address in (mailbox.key, *sorted(forward_paths)):
            mac.update(b"\0" + address.encode(errors="replace"))
        name = mac.digest()
        value = hmac.digest(self._secret, b"accepted\0" + name, "sha256")
        return f"letterlock:copy:{name.hex()}", value


class Markers:
    """The markers of one transaction, whose RCPT commands named `forward_paths`."""

    def __init__(self, store: Store, identity: Identity, forward_paths: Sequence[str]) -> None:
        self._store = store
        self._identity = identity
        self._forward_paths = forward_paths
        self._copies: list[Mailbox] = []

    def accepted_before(self, mailbox: Mailbox) -> bool:
        """Whether an earlier attempt got this copy accepted."""
        for name, value in (
            self._identity.marker(mailbox),
            self._identity.marker(mailbox, self._forward_paths),
        ):
            found = self._store.get(name)
            if found is not None and hmac.compare_digest(found, value):
                self._copies.append(mailbox)
                return True
        return False

    def accepted(self, mailbox: Mailbox) -> None:
        """Remember that this copy was accepted."""
        name, value = self._identity.marker(mailbox)
        self._store.set(name, value, LIFETIME_SECONDS)
        self._copies.append(mailbox)

    def settle(self) -> None:
        """The whole transaction is accepted, as far as we can know.

        For a while the same message to the same forward-paths is taken for a repetition.
        Not where it has no Message-ID: a device's alarms may be the same and meant to be
        several.
        """
        if self._identity.is_unique:
            for mailbox in self._copies:
                name, value = self._identity.marker(mailbox, self._forward_paths)
                self._store.set(name, value, _SETTLING_SECONDS)
        self._store.delete([self._identity.marker(mailbox)[0] for mailbox in self._copies])
