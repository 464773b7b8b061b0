"""What arrived in a mailbox, as a thief, its owner and a packet dump see it."""

import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message

from click.testing import CliRunner

from letterlock.cli.decrypt import decrypt
from letterlock.message import HeaderSection, split
from stack import Owner, Stack, wait_until

BEGIN = b"-----BEGIN PGP MESSAGE-----"


@dataclass(frozen=True, slots=True)
class Delivered:
    """One message as it was stored, with CRLF as it was transported."""

    octets: bytes

    @property
    def section(self) -> HeaderSection:
        """The outer header section."""
        return split(self.octets)[0]

    @property
    def body(self) -> bytes:
        """What follows the blank line."""
        return split(self.octets)[1]

    @property
    def is_wrapped(self) -> bool:
        """Whether this is PGP/MIME with its two parts and nothing else (RFC 3156 §4)."""
        mail = self.parsed
        types = [part.get_content_type() for part in mail.walk()]
        return (
            types
            == ["multipart/encrypted", "application/pgp-encrypted", "application/octet-stream"]
            and not mail.preamble
            and not mail.epilogue
            and not mail.defects
        )

    @property
    def parsed(self) -> Message:
        """What another parser makes of it."""
        return message_from_bytes(self.octets)

    def shown(self, name: bytes) -> list[bytes]:
        """Return the unfolded bodies of the outer fields called `name` (lower case)."""
        return [field.unfolded.strip() for field in self.section.named(name)]

    def original(self, owner: Owner) -> bytes:
        """Return what `letterlock decrypt --original` restores. Fails unless it says exact."""
        restored, said = self.restored(owner)
        assert said == ""
        return restored

    def restored(self, owner: Owner) -> tuple[bytes, str]:
        """Return what `letterlock decrypt --original` prints on both outputs."""
        done = CliRunner().invoke(
            decrypt, ["--original"], input=self.octets, env={"GNUPGHOME": str(owner.home)}
        )
        assert done.exit_code == 0, f"{done.stderr}{done.exception!r}"
        return done.stdout_bytes, done.stderr

    @property
    def key_ids(self) -> list[str]:
        """Whom the encrypted part names, by gpg's packet dump: key IDs in lower case."""
        command = ["gpg", "--batch", "--homedir", "/nonexistent", "--list-packets", "--list-only"]
        done = subprocess.run(
            command, input=self.octets[self.octets.index(BEGIN) :], capture_output=True, check=False
        )
        dump = done.stdout.decode()
        return [found.lower() for found in re.findall(r":pubkey enc packet:.*keyid (\w+)", dump)]


def deliver(
    stack: Stack,
    message: bytes,
    to: Sequence[str] | str,
    *,
    into: Sequence[str] | None = None,
    sender: str = "sender@outside.test",
) -> dict[str, list[Delivered]]:
    """Send one message to `to`; return what it added to the mailboxes `into`, if not the same."""
    forward_paths = [to] if isinstance(to, str) else list(to)
    return watch(
        stack, into or forward_paths, lambda: stack.send(message, forward_paths, sender=sender)
    )


def deliver_one(stack: Stack, message: bytes, to: str, into: str = "") -> Delivered:
    """Send one message to `to` and return the one that arrived there, or in mailbox `into`."""
    ((arrived,),) = deliver(stack, message, to, into=[into or to]).values()
    return arrived


def watch(
    stack: Stack, mailboxes: Sequence[str], act: Callable[[], object]
) -> dict[str, list[Delivered]]:
    """Return what `act` added to `mailboxes`, once everything it set off is delivered."""
    before = {address: len(stack.maildir(address)) for address in mailboxes}
    act()
    # Twice: mail that local(8) forwards is in a folder again that was just seen empty.
    is_idle = lambda: not stack.queue_files() and not stack.queue_files()  # noqa: E731
    wait_until(is_idle, "queue empty", 120, log=stack.log_file("postfix"))
    return {
        address: [
            Delivered(stored.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
            for stored in stack.maildir(address)[count:]
        ]
        for address, count in before.items()
    }
