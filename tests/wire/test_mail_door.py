"""Handing over a notice to SMTP servers that take it, do not, go away, or never answer."""

import socketserver
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from keyservice import mail_door
from keyservice.mail_door import Deferred, DoorClosed, MailDoor, Refused
from keyservice.mailbox import Mailbox
from ports import free_port

ALICE, UMLAUT = Mailbox.parse("alice@example.org"), Mailbox.parse("ä@example.org")
MAIL = b"Subject: x\r\n\r\n.a line with a dot\r\n"


class Server(socketserver.ThreadingTCPServer):
    """Says 250 to all, but what `says` has for the first word of a command; "" hangs up."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, says: Mapping[str, str]) -> None:
        super().__init__(("127.0.0.1", 0), Session)
        self.says = says
        self.commands: list[str] = []
        self.mails: list[bytes] = []


class Session(socketserver.StreamRequestHandler):
    """One connection."""

    def handle(self) -> None:
        """Speak SMTP until told otherwise."""
        server = self.server
        assert isinstance(server, Server)
        self._say(server.says.get("", "220 ready"))
        while line := self.rfile.readline():
            command = line.decode().rstrip("\r\n")
            server.commands.append(command)
            verb = command.split()[0].upper()
            default = {"EHLO": "250-here\r\n250 SMTPUTF8", "DATA": "354 go on", "QUIT": "221 bye"}
            reply = server.says.get(verb, default.get(verb, "250 ok"))
            if not reply:
                return
            self._say(reply)
            if verb == "DATA" and reply.startswith("354"):
                octets = b""
                while not octets.endswith(b"\r\n.\r\n"):
                    octets += self.rfile.readline()
                server.mails.append(octets[:-3])
                self._say(server.says.get(".", "250 taken"))

    def _say(self, reply: str) -> None:
        self.wfile.write(reply.encode() + b"\r\n")


@contextmanager
def serving(**says: str) -> Iterator[tuple[Server, MailDoor]]:
    """Yield a server and a door to it; `greeting` and `end` are not commands."""
    names = {"greeting": "", "end": "."}
    with Server({names.get(k, k.upper()): v for k, v in says.items()}) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        with MailDoor(*server.server_address) as door:
            yield server, door
        server.shutdown()


def test_a_notice_is_handed_over_octet_for_octet() -> None:
    """With the null reverse-path, and several in one session."""
    with serving() as (server, door):
        door.hand_over(MAIL, ALICE)
        door.hand_over(MAIL, ALICE)

    assert [MAIL.replace(b"\n.", b"\n..")] * 2 == server.mails
    assert 1 == len([c for c in server.commands if c.startswith("ehlo")])
    assert "mail FROM:<>" in server.commands
    assert "rcpt TO:<alice@example.org>" in server.commands
    assert "quit" == server.commands[-1]


def test_a_local_part_beyond_ascii_needs_smtputf8() -> None:
    """And where there is none, that mailbox alone goes without."""
    with serving() as (server, door):
        door.hand_over(MAIL, UMLAUT)
    with serving(ehlo="250 here") as (_, door):
        with pytest.raises(Refused):
            door.hand_over(MAIL, UMLAUT)
        door.hand_over(MAIL, ALICE)

    assert "mail FROM:<> SMTPUTF8 BODY=8BITMIME" in server.commands
    assert "rcpt TO:<ä@example.org>" in server.commands


@pytest.mark.parametrize(
    ("says", "raised"),
    [
        ({"rcpt": "450 4.7.5 no certificate"}, Deferred),
        ({"rcpt": "550 5.1.1 nobody"}, Refused),
        ({"rcpt": "421 4.3.2 shutting down"}, DoorClosed),
        ({"rcpt": ""}, DoorClosed),
        ({"rcpt": "nonsense"}, DoorClosed),
        ({"data": "451 4.3.0 later"}, DoorClosed),
        ({"end": "451 4.7.1 the milter says later"}, Deferred),
        ({"end": "550 5.7.1 never"}, Refused),
        ({"mail": "550 5.7.1 not with this sender"}, DoorClosed),
        ({"greeting": "554 no service"}, DoorClosed),
        ({"greeting": "421 busy"}, DoorClosed),
    ],
)
def test_each_reply_says_what_to_do_next(says: dict[str, str], raised: type[Exception]) -> None:
    """About this mailbox, or about Postfix."""
    with serving(**says) as (server, door):
        with pytest.raises(raised):
            door.hand_over(MAIL, ALICE)

        assert [] == server.mails or "end" in says


def test_after_a_refusal_the_session_goes_on() -> None:
    """The next notice is for somebody else."""
    says = {"rcpt": "550 nobody"}
    with serving(**says) as (server, door):
        with pytest.raises(Refused):
            door.hand_over(MAIL, ALICE)
        server.says = {}
        door.hand_over(MAIL, ALICE)

        assert 1 == len(server.mails)
        assert 1 == len([c for c in server.commands if c.startswith("ehlo")])


def test_nobody_listens() -> None:
    """Postfix is not running."""
    with MailDoor("127.0.0.1", free_port()) as door, pytest.raises(DoorClosed):
        door.hand_over(MAIL, ALICE)


def test_a_server_that_never_answers_costs_one_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """It took the connection."""
    monkeypatch.setattr(mail_door, "_TIMEOUT", 0.2)
    server = Server({})  # which does not serve
    with server, MailDoor(*server.server_address) as door, pytest.raises(DoorClosed):
        door.hand_over(MAIL, ALICE)
