"""Certificates and mail in the shape that Autocrypt Level 1 gives them, made anew."""

import base64
import functools
from email.message import Message
from email.parser import BytesHeaderParser

from pysequoia.packet import Tag

from certificates import joined, packet_groups, packet_tags, sequoia

LINE_COLUMNS = 76


@functools.cache
def five_packets(user_id: str) -> bytes:
    """Return a certificate of primary key, user ID, encryption subkey and two signatures."""
    return five_of(sequoia(user_id).certificate)


def five_of(certificate: bytes) -> bytes:
    """Return those five packets of a certificate that Sequoia made."""
    groups = packet_groups(certificate)
    tags = packet_tags(certificate)
    user_ids = [group for tag, group in zip(tags, groups, strict=True) if tag == Tag.UserID]
    return joined([groups[0][:1], user_ids[0], groups[-1]])


def field(addr: str, certificate: bytes, *, attributes: str = "") -> bytes:
    """Return the body of an Autocrypt field, folded as clients fold it."""
    encoded = base64.b64encode(certificate).decode()
    lines = [encoded[at : at + LINE_COLUMNS] for at in range(0, len(encoded), LINE_COLUMNS)]
    keydata = "".join(f"\r\n {line}" for line in lines)
    return f" addr={addr}; {attributes}keydata={keydata}".encode()


def message(*fields: tuple[str, bytes], body: bytes = b"Hello\r\n") -> bytes:
    """Return a message; field bodies with the blank they begin with."""
    section = b"".join(name.encode() + b":" + value + b"\r\n" for name, value in fields)
    return section + b"\r\n" + body


def bodies(mail: bytes, name: str) -> list[bytes]:
    """Return the bodies of the fields of that name, as somebody else's parser finds them."""
    parsed: Message = BytesHeaderParser().parsebytes(mail)
    return [str(value).encode() for value in parsed.get_all(name, [])]
