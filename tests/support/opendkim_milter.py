"""A real opendkim as Postfix would talk to it; one that signs, with keys of opendkim-genkey."""

import base64
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Self

from letterlock.message import split
from milterproto import CONTINUE, Ended, MilterClient
from stack.processes import greets, spawn, wait_for

_CONFIG = """\
Syslog no
Mode s
Socket local:{directory}/socket
UMask 000
InternalHosts 192.0.2.1
Domain {domain}
Selector {selector}
KeyFile {directory}/{selector}.private
Canonicalization {form}
SignatureAlgorithm {algorithm}
OversignHeaders From
RequireSafeKeys no
{more}
"""


def handed_in(path: Path, message: bytes) -> Ended:
    """Hand a message in at the socket `path`; where the milter is done early, it ends there."""
    section, body = split(message)
    with MilterClient(str(path)) as client:
        client.negotiate()
        client.connect("peer.test", "192.0.2.1")
        client.mail("<alice@example.org>")
        client.rcpt("<bob@example.net>")
        for field in section:
            client.header(field.name, field.value.replace(b"\r\n", b"\n"))
        reply = client.eoh()
        if reply is not None and reply.command != CONTINUE:
            return Ended(reply)
        client.body(body)
        return client.end()


class OpenDKIMSigner:
    """Signs for `domain`; a context manager."""

    def __init__(
        self, domain: str, selector: str, form: str, key_type: str, more: str = ""
    ) -> None:
        """`form` is a c=, `key_type` rsa or ed25519; `more` are lines of the configuration."""
        self._directory = Path(tempfile.mkdtemp(prefix="opendkim-"))
        self.name = f"{selector}._domainkey.{domain}"
        private, self.record = _generated(domain, selector, key_type)
        (self._directory / f"{selector}.private").write_bytes(private)
        (self._directory / "opendkim.conf").write_text(
            _CONFIG.format(
                directory=self._directory,
                domain=domain,
                selector=selector,
                form=form,
                algorithm=f"{key_type}-sha256",
                more=more,
            )
        )

    def __enter__(self) -> Self:
        program = shutil.which("opendkim", path="/usr/sbin:/usr/bin")
        assert program, "opendkim is not installed"
        log = self._directory / "log"
        command = [program, "-f", "-x", str(self._directory / "opendkim.conf")]
        self._session = spawn("opendkim", command, log, self._directory / "ledger", {})
        wait_for(self._session, lambda: greets(str(self._directory / "socket")), log)
        return self

    def __exit__(self, *_: object) -> None:
        # Asked to end, libmilter looks for that every five seconds.
        self._session.stop(0)
        shutil.rmtree(self._directory)

    def signed(self, message: bytes) -> bytes:
        """Return the message as Postfix would send it on."""
        ended = handed_in(self._directory / "socket", message)
        ((_, name, value),) = ended.insertions
        leading = b"" if value[:1] in b" \t" else b" "
        return name + b":" + leading + value.replace(b"\n", b"\r\n") + b"\r\n" + message


@cache
def _generated(domain: str, selector: str, key_type: str) -> tuple[bytes, str]:
    """Return a private key and the record of the public one."""
    with tempfile.TemporaryDirectory() as folder:
        if key_type == "ed25519":
            return _generated_ed25519()
        # Looks for this host's name first; that may take seconds.
        names = ["-D", folder, "-d", domain, "-s", selector]
        subprocess.run(
            ["opendkim-genkey", *names, "-b", "2048", "-h", "sha256"],
            check=True,
            capture_output=True,
            timeout=60,
        )
        zone = (Path(folder) / f"{selector}.txt").read_text()
        record = "".join(re.findall(r'"([^"]*)"', zone))
        return (Path(folder) / f"{selector}.private").read_bytes(), record


def _generated_ed25519() -> tuple[bytes, str]:
    """Do what Debian's opendkim-genkey cannot: it makes RSA keys only."""
    private = _openssl(["genpkey", "-algorithm", "ed25519"], b"")
    public = _openssl(["pkey", "-pubout", "-outform", "DER"], private)[-32:]
    return private, f"v=DKIM1; k=ed25519; p={base64.b64encode(public).decode()}"


def _openssl(arguments: list[str], given: bytes) -> bytes:
    return subprocess.run(
        ["openssl", *arguments], input=given, check=True, capture_output=True, timeout=60
    ).stdout
