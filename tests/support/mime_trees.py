"""Messages of parts within parts as honest senders write them, and another parser's opinion."""

import base64
import quopri
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message

from hypothesis import strategies as st

PGP_KEYS = b"application/pgp-keys"

_TYPES = (PGP_KEYS, PGP_KEYS, b'Application/PGP-Keys; name="k.asc"', b"text/plain", b"image/png")
_MULTIPARTS = (b"mixed", b"alternative", b"signed", b"related", b"x-unheard-of")
_BLANKS = st.sampled_from([b"", b"", b" ", b" \t"])

# None of them is a delimiter, many begin like one.
_LINES = st.sampled_from(
    [b"", b"text", b"--", b"-- ", b"--=_", b"--=_x", b" --=_1", b"-----BEGIN-----", b"=3D--"]
)
_TEXT = st.lists(_LINES, max_size=6).map(b"\r\n".join)
_BINARY = st.binary(max_size=200)


def lines(text: bytes) -> bytes:
    """Return `text` in lines of 76 octets."""
    return b"".join(text[at : at + 76] + b"\r\n" for at in range(0, len(text), 76))


@st.composite
def leaves(draw: st.DrawFn) -> bytes:
    """Return parts that hold no others."""
    media_type = draw(st.sampled_from(_TYPES))
    encoding = draw(st.sampled_from([b"", b"8bit", b"base64", b"Quoted-Printable"]))
    if encoding == b"base64":
        content = lines(base64.b64encode(draw(_BINARY)))
    elif encoding == b"Quoted-Printable":
        content = quopri.encodestring(draw(_TEXT).replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
    else:
        content = draw(_TEXT)
    said = b"Content-Transfer-Encoding: %b\r\n" % encoding if encoding else b""
    return b"Content-Type: %b\r\n%b\r\n%b" % (media_type, said, content)


@st.composite
def multiparts(draw: st.DrawFn, parts: st.SearchStrategy[bytes]) -> bytes:
    """Return a multipart of such parts, with a boundary that nothing in them can be."""
    inside = draw(st.lists(parts, min_size=1, max_size=4))
    # One boundary may begin like the other: "=_1" and "=_10".
    boundary = b"=_%d" % sum(part.count(b"boundary=") for part in inside)
    delimiter = b"--" + boundary
    octets = b'Content-Type: multipart/%b;\r\n boundary="%b"\r\n\r\n' % (
        draw(st.sampled_from(_MULTIPARTS)),
        boundary,
    )
    octets += draw(st.sampled_from([b"", b"\r\n", b"a preamble\r\n", b"--=_\r\n"]))
    for part in inside:
        octets += delimiter + draw(_BLANKS) + b"\r\n" + part + b"\r\n"
    end = draw(st.sampled_from([b"--\r\n", b"--", b"--\r\nan epilogue\r\n"]))
    return octets + delimiter + end


def forwarded(mail: bytes) -> bytes:
    """Return a part that is another message."""
    return b"Content-Type: message/rfc822\r\n\r\nFrom: carol@example.net\r\n" + mail


def messages() -> st.SearchStrategy[bytes]:
    """Return messages, as they are transported."""
    trees = st.recursive(
        leaves(), lambda parts: multiparts(st.one_of(parts, parts.map(forwarded))), max_leaves=12
    )
    return trees.map(lambda tree: b"From: bob@sender.example\r\n" + tree)


def certificates(mail: bytes) -> list[bytes]:
    """Return what Python's parser finds of application/pgp-keys, but in forwarded mail."""
    return [octets for octets in _certificates(message_from_bytes(mail)) if octets]


def _certificates(part: Message) -> Iterator[bytes]:
    if part.get_content_maintype() == "multipart" and part.is_multipart():
        for each in part.get_payload():
            assert isinstance(each, Message)
            yield from _certificates(each)
    if part.get_content_type() == PGP_KEYS.decode():
        octets = part.get_payload(decode=True)
        assert isinstance(octets, bytes)
        yield octets
