"""SMTP smuggling: what ends a message here ends it for every server before us, or it is refused."""

import socket

import pytest

from delivered import Delivered, watch
from stack import Owner, Stack

# What some server takes, or once took, for the end of the data (RFC 5321 §4.1.1.4 knows one).
ENDS = {
    "LF.LF": b"\n.\n",
    "CR.CR": b"\r.\r",
    "CR.LF": b"\r.\n",
    "LF.CR": b"\n.\r",
    "LF.CRLF": b"\n.\r\n",
    "CRLF.LF": b"\r\n.\n",
    "CR.CRLF": b"\r.\r\n",
    "CRLF.CR": b"\r\n.\r",
    "NUL before the dot": b"\r\n\0.\r\n",
    "NUL behind the dot": b"\r\n.\0\r\n",
}
_SMUGGLED = (
    b"MAIL FROM:<admin@example.test>\r\n"
    b"RCPT TO:<bob@example.test>\r\n"
    b"DATA\r\n"
    b"Subject: smuggled\r\n\r\nsmuggled"
)


def _converse(stack: Stack, data: bytes) -> bytes:
    """Send `data` as the content of one message to Alice; return the reply to its end."""
    with socket.create_connection(stack.layout.address("smtp"), timeout=60) as server:
        replies = server.makefile("rb")
        replies.readline()
        for command in (
            b"HELO client.outside.test",
            b"MAIL FROM:<sender@outside.test>",
            b"RCPT TO:<alice@example.test>",
            b"DATA",
        ):
            server.sendall(command + b"\r\n")
            assert replies.readline()[:1] in b"23"
        server.sendall(data + b"\r\n.\r\n")
        return replies.readline()


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_one_message_in_is_one_message_out(
    stack: Stack, alice: Owner, bob: Owner, end: bytes
) -> None:
    """The smuggled commands are text of the one message, or there is no message at all."""
    replies: list[bytes] = []

    def send() -> None:
        replies.append(_converse(stack, b"Subject: outer\r\n\r\nouter" + end + _SMUGGLED))

    stored = watch(stack, [alice.address, bob.address], send)

    assert [] == stored[bob.address]
    if replies[0].startswith(b"250"):
        (only,) = stored[alice.address]
        assert _holds_everything(only, alice)
    else:
        assert replies[0][:1] in (b"4", b"5")
        assert [] == stored[alice.address]


def test_the_one_true_end_ends_the_message(stack: Stack, alice: Owner, bob: Owner) -> None:
    """The test above can fail: pipelined behind it, the same commands are a second message."""
    data = b"Subject: outer\r\n\r\nouter\r\n.\r\n" + _SMUGGLED

    stored = watch(stack, [alice.address, bob.address], lambda: _converse(stack, data))

    assert [1, 1] == [len(stored[alice.address]), len(stored[bob.address])]


def _holds_everything(stored: Delivered, owner: Owner) -> bool:
    restored = stored.original(owner)
    return b"outer" in restored and restored.endswith(b"smuggled\r\n")
