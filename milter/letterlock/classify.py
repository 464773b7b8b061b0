"""Whether a message arrived encrypted: judged by its structure and packets, not its label.

Encrypted is a message that is multipart/encrypted (RFC 3156 §4) with its two parts and
nothing else, whose encrypted part is an armored OpenPGP message of PKESKs and encrypted
data. Anything else is not encrypted, and whatever is doubted is not: it will be wrapped.
"""

import re
from collections.abc import Iterable

from letterlock import pgpmime
from letterlock.content_type import ContentType, strict
from letterlock.message import HeaderField, HeaderSection, split
from letterlock.openpgp import (
    Dearmor,
    EncryptedMessage,
    MalformedArmor,
    NotEncrypted,
    PacketWalker,
    RecipientSubkey,
)

_HEAD_OCTETS_MAX = 8_192
"""Of everything before the armor; real ones need 700."""

_BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
"""RFC 2046 §5.1.1."""

# Text outside of the encryption would be stored as it is. These sentences say nothing.
_PREAMBLE = re.compile(
    rb"\s*+(?:This is an OpenPGP/MIME encrypted message \(RFC \d{4}(?: and \d{4})?\)\.?"
    rb"|This is a multi-part message in MIME format\.?)?\s*+"
)
_CONTROL = re.compile(rb"[ \t]*+Version:[ \t]*+1\s*+", re.IGNORECASE)
_PART_FIELDS = frozenset(
    {
        b"content-type",
        b"content-transfer-encoding",
        b"content-description",
        b"content-disposition",
        b"content-id",
    }
)
_IDENTITY = (b"7bit", b"8bit")
_CLOSING = re.compile(rb"--[ \t]*+(?:\r?\n\s*+)?")


class Classifier:
    """Reads a message as it arrives; memory and time do not depend on what is in it."""

    def __init__(self, section: HeaderSection) -> None:
        boundary = _boundary(section)
        self._refused = boundary is None
        if boundary is None:
            return
        self._delimiter = b"\n--" + boundary
        self._head: bytes | None = b"\n"  # A delimiter may be the first line.
        self._dearmor = Dearmor()
        self._walker = PacketWalker()
        self._held = b""
        self._tail: bytes | None = None

    @property
    def is_undecided(self) -> bool:
        """Whether the message may yet turn out to be encrypted."""
        return not self._refused

    def write(self, chunk: bytes) -> None:
        """Take the next octets of the body, however many. Never raises."""
        if self._refused:
            return
        try:
            self._take(chunk)
        except (MalformedArmor, NotEncrypted):
            self._refused = True

    def close(self) -> EncryptedMessage | None:
        """Return what the message says about its encryption; None if it is not encrypted."""
        if self._refused or self._tail is None or not _CLOSING.fullmatch(self._tail):
            return None
        try:
            self._walker.write(self._dearmor.close())
            return self._walker.close()
        except (MalformedArmor, NotEncrypted):
            return None

    def _take(self, chunk: bytes) -> None:
        if self._head is not None:
            chunk = self._take_head(self._head + chunk)
        if self._head is None and self._tail is None:
            chunk = self._take_armor(self._held + chunk)
        if self._tail is not None:
            self._take_tail(self._tail + chunk)

    def _take_head(self, head: bytes) -> bytes:
        """Return what follows the encrypted part's own header section, once that is complete."""
        first = head[:_HEAD_OCTETS_MAX]
        preamble, *parts = first.split(self._delimiter, 2)
        end = re.search(rb"\n\r?\n", parts[1]) if len(parts) == 2 else None
        if end is None:
            if len(head) > _HEAD_OCTETS_MAX:
                raise NotEncrypted("no encrypted part where one belongs")
            self._head = head
            return b""
        _require_head(preamble, parts[0], parts[1][: end.end()])
        self._head = None
        # The line end before the armor: a delimiter may follow it at once.
        return head[len(first) - len(parts[1]) + end.end() - 1 :]

    def _take_armor(self, text: bytes) -> bytes:
        armor, delimiter, rest = text.partition(self._delimiter)
        if delimiter:
            self._tail = b""
            self._held = b""
        else:
            # The delimiter may be cut in two by the chunks.
            keep = len(self._delimiter) - 1
            armor, self._held = text[:-keep], text[-keep:]
        self._walker.write(self._dearmor.write(armor))
        return rest

    def _take_tail(self, tail: bytes) -> None:
        if len(tail) > _HEAD_OCTETS_MAX:
            raise NotEncrypted("something follows the encrypted part")
        self._tail = tail


def is_for(message: EncryptedMessage | None, subkeys: Iterable[RecipientSubkey]) -> bool:
    """Whether `message` is encrypted and names one of `subkeys`; a hidden recipient is none."""
    return message is not None and any(message.names(subkey) for subkey in subkeys)


def _boundary(section: HeaderSection) -> bytes | None:
    """Return the boundary of a message labelled multipart/encrypted for OpenPGP, else None."""
    types = section.named(b"content-type")
    said = strict(types[0]) if len(types) == 1 else None
    if said is None or said.media_type != b"multipart/encrypted":
        return None
    if not _is_identity(section.named(b"content-transfer-encoding")):
        return None
    protocol, boundary = _only(said, b"protocol"), _only(said, b"boundary")
    if protocol.lower() != pgpmime.CONTROL_TYPE or not _BOUNDARY.fullmatch(boundary):
        return None
    return boundary


def _only(said: ContentType, name: bytes) -> bytes:
    values = [value for key, value in said.parameters if key.partition(b"*")[0] == name]
    return values[0] if len(values) == 1 else b""


def _is_identity(encodings: tuple[HeaderField, ...]) -> bool:
    return not encodings or (len(encodings) == 1 and encodings[0].unfolded.lower() in _IDENTITY)


def _require_head(preamble: bytes, control: bytes, encrypted: bytes) -> None:
    """Raise NotEncrypted unless these are what RFC 3156 §4 wants before the armor."""
    if not _PREAMBLE.fullmatch(preamble):
        raise NotEncrypted("preamble")
    if not _CONTROL.fullmatch(_part_body(control, pgpmime.CONTROL_TYPE)):
        raise NotEncrypted("control part")
    if _part_body(encrypted, b"application/octet-stream"):
        raise NotEncrypted("encrypted part")


def _part_body(part: bytes, media_type: bytes) -> bytes:
    """Return the body of a part, given from behind its delimiter; raises NotEncrypted."""
    padding, _, octets = part.partition(b"\n")
    section, body = split(octets)
    types = section.named(b"content-type")
    said = strict(types[0]) if len(types) == 1 else None
    if (
        padding.strip()
        or said is None
        or said.media_type != media_type
        or not _is_identity(section.named(b"content-transfer-encoding"))
        or any(field.key not in _PART_FIELDS for field in section)
    ):
        raise NotEncrypted("part")
    return body
