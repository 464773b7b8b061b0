"""Sends the mails and collects what became of them, without judging."""

import base64
import os
import smtplib
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email import message_from_bytes
from subprocess import CalledProcessError

from demo.mails import Mail
from stack import NotReady, Owner, Sent, Stack

_BEGIN, _END = b"-----BEGIN PGP MESSAGE-----", b"-----END PGP MESSAGE-----"
_DECRYPT = "from letterlock.cli.decrypt import decrypt; decrypt()"


@dataclass(frozen=True, slots=True)
class Copy:
    """One mail as it was stored for one owner, and what could be made of it."""

    owner: Owner
    stored: bytes
    """The file, as it is on the provider's disk."""

    original: bytes | None
    """What `letterlock decrypt --original` restored with the owner's key."""

    inner: bytes | None
    """For mail that its sender had encrypted: what the owner reads after all."""

    key_ids: frozenset[str]
    """Whom it names as able to open it, by gpg's list of its packets."""

    opened_by_others: tuple[str, ...]
    """Other owners who could open it."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one mail."""

    mail: Mail
    reply: str
    """What the sender's server was told if the mail was not taken, else empty."""

    copies: tuple[Copy, ...]


def deliver(stack: Stack, mail: Mail, owners: Sequence[Owner]) -> Delivery:
    """Send `mail` from outside and wait for its copies."""
    return collect(
        stack, mail, owners, lambda: stack.send(mail.octets, mail.to, options=mail.options)
    )


def collect(
    stack: Stack, mail: Mail, owners: Sequence[Owner], send: Callable[[], Sent]
) -> Delivery:
    """Return what `send`, which sends `mail`, adds to mailboxes of `stack`."""
    expected = [owner for owner in owners if owner.address in mail.to]
    before = {owner.address: len(stack.maildir(owner.address)) for owner in expected}
    try:
        replies = list(send().refused.values())
    except smtplib.SMTPResponseException as refused:
        replies = [(refused.smtp_code, str(refused.smtp_error))]
    copies = []
    if not replies:
        for owner in expected:
            with suppress(NotReady):
                count = before[owner.address]
                stored = stack.wait_for_mail(owner.address, count + 1)[count:]
                copies += [_copy(octets, owner, owners, mail) for octets in stored]
    return Delivery(mail, "; ".join(f"{code} {text}" for code, text in replies), tuple(copies))


def _copy(stored: bytes, owner: Owner, owners: Sequence[Owner], mail: Mail) -> Copy:
    encrypted = encrypted_parts(stored)
    original = _original(stored, owner)
    others = [other for other in owners if other.address != owner.address]
    return Copy(
        owner=owner,
        stored=stored,
        original=original,
        inner=opened(encrypted_parts(original or b""), owner) if mail.arrives_encrypted else None,
        key_ids=key_ids(stored, owner),
        opened_by_others=tuple(o.address for o in others if opened(encrypted, o) is not None),
    )


def encrypted_parts(stored: bytes) -> list[bytes]:
    """Return every OpenPGP message in a stored mail: in its body, in its header section."""
    found = []
    if _BEGIN in stored and _END in stored:
        begin, end = stored.index(_BEGIN), stored.rindex(_END) + len(_END)
        found.append(stored[begin:end] + b"\n")
    if field := message_from_bytes(stored)["Letterlock-Header"]:
        found.append(base64.b64decode("".join(str(field).split())))
    return found


def key_ids(mail: bytes, owner: Owner) -> frozenset[str]:
    """Return whom the encrypted parts of `mail` name, by gpg's list of their packets."""
    return frozenset().union(*(_key_ids(octets, owner) for octets in encrypted_parts(mail)))


def _original(stored: bytes, owner: Owner) -> bytes | None:
    # As the owner would, in a process that knows nothing but the owner's key.
    done = subprocess.run(
        [sys.executable, "-c", _DECRYPT, "--original", "-"],
        input=stored,
        capture_output=True,
        env={**os.environ, "GNUPGHOME": str(owner.home)},
        check=False,
    )
    # It speaks where it could not restore exactly.
    return None if done.returncode or done.stderr else done.stdout


def opened(encrypted: Sequence[bytes], owner: Owner) -> bytes | None:
    """Return the first of `encrypted` that `owner` can open, opened."""
    for octets in encrypted:
        with suppress(CalledProcessError):
            return owner.decrypt(octets)
    return None


def _key_ids(octets: bytes, owner: Owner) -> set[str]:
    try:
        listing = owner.gpg("--list-only", "--list-packets", stdin=octets).decode()
    except CalledProcessError:
        return {"not understood by gpg"}
    lines = (line for line in listing.splitlines() if line.startswith(":pubkey enc packet:"))
    return {line.rpartition(" ")[2].lower() for line in lines}
