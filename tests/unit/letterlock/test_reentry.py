"""Copies travel through SMTP unchanged."""

from hypothesis import given
from hypothesis import strategies as st

from letterlock.reentry import dot_stuffed

PIECES = st.lists(st.text(alphabet=".\r\nab", max_size=12).map(str.encode), max_size=8)


def received(wire: bytes) -> bytes:
    """What a server makes of DATA (RFC 5321 §4.5.2), the final dot and its line end removed."""
    assert wire.endswith((b"\r\n.\r\n", b".\r\n"))
    lines = wire.removesuffix(b".\r\n").split(b"\n")
    return b"\n".join(line[1:] if line.startswith(b".") else line for line in lines)


@given(PIECES)
def test_dots_survive_however_the_message_is_cut(pieces):
    """What the server reads is what was sent, with a final line end where there was none."""
    message = b"".join(pieces)
    expected = message if message.endswith(b"\r\n") or not message else message + b"\r\n"

    assert expected == received(b"".join(dot_stuffed(pieces)))


@given(PIECES)
def test_nothing_in_a_message_ends_it(pieces):
    """The final dot is the only line that consists of a dot."""
    wire = b"".join(dot_stuffed(pieces))

    assert b"\n.\r\n" not in wire.removesuffix(b".\r\n")
    assert not wire.removesuffix(b".\r\n").startswith(b".\r\n")
