"""`letterlock decrypt`: for the owner of a mailbox, on the machine that has the secret key."""

import re
import subprocess
import sys
from typing import BinaryIO

import click

from letterlock.message import CRLF, split
from letterlock.restore import NotOurs, Restored, encrypted_header, restore

_BARE_LF = re.compile(rb"(?<!\r)\n")


@click.command()
@click.argument("message", type=click.File("rb"), default="-")
@click.option("--original", is_flag=True, help="Restore the message exactly as it was received.")
@click.option("--gpg", default="gpg", show_default=True, help="The program that decrypts.")
def decrypt(message: BinaryIO, original: bool, gpg: str) -> None:
    """Decrypt the stored MESSAGE (a file, or - for standard input) with the owner's GnuPG.

    Without --original what was encrypted is printed as it is: the message, its header
    section marked for mail clients.
    """
    try:
        payload = _payload(message.read(), gpg)
        restored = restore(payload) if original else Restored(payload, exact=True, why_not=None)
    except NotOurs as error:
        raise click.ClickException(str(error)) from None
    if not restored.exact:
        click.echo(f"not exact: {restored.why_not}", err=True)
    sys.stdout.buffer.write(restored.octets)


def _payload(stored: bytes, gpg: str) -> bytes:
    # Mail stores write LF; what was received, and what was encrypted, had CRLF.
    section, body = split(_BARE_LF.sub(CRLF, stored))
    kept = encrypted_header(section)
    return _run(gpg, body) if kept is None else _run(gpg, kept) + body


def _run(gpg: str, encrypted: bytes) -> bytes:
    # gpg finds the armor inside of the MIME part by itself.
    command = [gpg, "--batch", "--quiet", "--decrypt"]
    try:
        done = subprocess.run(  # noqa: S603 (the owner's own gpg)
            command, input=encrypted, capture_output=True, check=False
        )
    except OSError as error:
        raise click.ClickException(f"{gpg}: {error.strerror}") from None
    if done.returncode != 0:
        raise click.ClickException(done.stderr.decode(errors="replace").strip())
    return done.stdout
