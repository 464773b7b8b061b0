"""A mail program that knows nothing of us shows the subject that was hidden."""

import json
import subprocess
from pathlib import Path

import pytest

from delivered import Delivered, deliver_one
from stack import Owner, Stack

MAIL = (
    b"From: Bob <bob@sender.example>\r\n"
    b"To: alice@example.test\r\n"
    b"Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?= in private\r\n"
    b"Date: Fri, 20 Nov 2026 07:00:00 +0000\r\n"
    b"Message-ID: <read@sender.example>\r\n"
    b"MIME-Version: 1.0\r\n"
    b'Content-Type: multipart/mixed; boundary="b"\r\n'
    b"\r\n"
    b"--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nshown to the owner\r\n"
    b"--b\r\nContent-Type: text/html\r\n\r\n<p>attachment</p>\r\n"
    b"--b--\r\n"
)


def _notmuch(directory: Path, owner: Owner, stored: Delivered) -> dict[str, object]:
    """Return what notmuch shows of a stored message, decrypting with the owner's gpg."""
    maildir = directory / "mail" / "cur"
    maildir.mkdir(parents=True)
    (maildir / "1:2,").write_bytes(stored.octets.replace(b"\r\n", b"\n"))
    config = directory / "config"
    config.write_text(f"[database]\npath={directory / 'mail'}\n[user]\nname=Alice\n")
    environment = {
        "NOTMUCH_CONFIG": str(config),
        "GNUPGHOME": str(owner.home),
        "HOME": str(directory),
        "PATH": "/usr/bin:/bin",
    }

    def run(*arguments: str) -> bytes:
        command = ["notmuch", *arguments]
        return subprocess.run(command, env=environment, check=True, capture_output=True).stdout

    run("new", "--quiet")
    shown = json.loads(run("show", "--decrypt=true", "--format=json", "*"))
    message: dict[str, object] = shown[0][0][0]
    return message


@pytest.mark.parametrize("to", ["alice@example.test", "alice@shy.test"])
def test_notmuch_shows_the_inner_subject(
    stack: Stack, alice: Owner, tmp_path: Path, to: str
) -> None:
    """It decrypts with gpg, takes the payload's header section, and knows that it was hidden."""
    shown = _notmuch(tmp_path, alice, deliver_one(stack, MAIL, to))

    headers, crypto = shown["headers"], shown["crypto"]
    assert isinstance(headers, dict)
    assert isinstance(crypto, dict)
    assert "Grüße in private" == headers["Subject"]
    assert {"status": "full", "header-mask": {"Subject": "[...]"}} == crypto["decrypted"]
    assert "shown to the owner" in json.dumps(shown["body"])


def test_notmuch_shows_the_sender_under_hcp_all(stack: Stack, alice: Owner, tmp_path: Path) -> None:
    """Outside is the provider's mailer only; the message itself is below, complete."""
    stored = deliver_one(stack, MAIL, "alice@all.test")
    shown = _notmuch(tmp_path, alice, stored)

    assert b"sender.example" not in b"".join(field.octets for field in stored.section)
    headers = shown["headers"]
    assert isinstance(headers, dict)
    assert "Grüße in private" == headers["Subject"]
    assert "bob@sender.example" in json.dumps(shown["body"])
    assert "shown to the owner" in json.dumps(shown["body"])
