"""Verifiers of DKIM that are not ours: dkimpy, Mail::DKIM and opendkim.

Each returns what it says about the signatures of a message, by selector: "pass", or its own word
for everything else. Selectors must differ.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import dkim

from letterlock.message import split
from milterproto import MilterClient
from stack.processes import greets, spawn, wait_for

Records = Mapping[str, str]
"""TXT records by name, without a final dot."""

_MAIL_DKIM = """\
use Mail::DKIM::Verifier;
use Mail::DKIM::DNS;
use Net::DNS;
Mail::DKIM::DNS::resolver(Net::DNS::Resolver->new(
    nameservers => ["127.0.0.1"], port => $ARGV[0], udppacketsize => 1232));
my $verifier = Mail::DKIM::Verifier->new();
local $/;
$verifier->PRINT(<STDIN>);
$verifier->CLOSE;
print $_->selector, " ", $_->result_detail =~ s/\\s+/ /gr, "\\n" for $verifier->signatures;
"""

_OPENDKIM = """\
Syslog no
Mode v
Socket local:{directory}/socket
UMask 000
TestDNSData file:{directory}/records
InternalHosts 192.0.2.250
AuthservID {authserv_id}
AlwaysAddARHeader yes
RemoveOldSignatures no
"""

_RESULT = re.compile(rb"dkim=(\w+)(?:(?!;\s*dkim=).)*?header\.s=([\w-]+)", re.DOTALL)


def dkimpy(message: bytes, records: Records) -> dict[str, str]:
    """Ask dkimpy."""

    def text(name: bytes, timeout: int = 5) -> bytes | None:
        record = records.get(name.decode().rstrip("."))
        return record.encode() if record else None

    said = {}
    count = sum(key == b"dkim-signature" for key in split(message)[0].keys)
    for index in range(count):
        verifier = dkim.DKIM(message)
        try:
            result = "pass" if verifier.verify(index, dnsfunc=text) else "fail"
        except dkim.DKIMException as error:
            result = str(error)
        said[verifier.signature_fields[b"s"].decode()] = result
    return said


def mail_dkim(message: bytes, dns_port: int) -> dict[str, str]:
    """Ask Perl's Mail::DKIM, which asks a resolver on loopback."""
    printed = subprocess.run(
        ["perl", "-e", _MAIL_DKIM, str(dns_port)],
        input=message,
        capture_output=True,
        check=True,
        timeout=60,
    ).stdout.decode()
    return dict(line.split(" ", 1) for line in printed.splitlines())


class OpenDKIM:
    """A real opendkim that verifies with `records`; a context manager."""

    def __init__(self, records: Records, authserv_id: str = "verifier.test") -> None:
        """Nothing runs yet."""
        self._directory = Path(tempfile.mkdtemp(prefix="opendkim-"))
        # Postfix's daemons are other accounts.
        self._directory.chmod(0o755)
        self.socket = self._directory / "socket"
        lines = [f"{name} {text}\n" for name, text in records.items()]
        (self._directory / "records").write_text("".join(lines))
        settings = _OPENDKIM.format(directory=self._directory, authserv_id=authserv_id)
        (self._directory / "opendkim.conf").write_text(settings)

    def __enter__(self) -> Self:
        program = shutil.which("opendkim", path="/usr/sbin:/usr/bin")
        assert program, "opendkim is not installed"
        log, ledger = self._directory / "log", self._directory / "ledger"
        command = [program, "-f", "-x", str(self._directory / "opendkim.conf")]
        self._session = spawn("opendkim", command, log, ledger, {})
        wait_for(self._session, lambda: greets(str(self.socket)), log)
        return self

    def __exit__(self, *_: object) -> None:
        self._session.stop()
        shutil.rmtree(self._directory)

    def verify(self, message: bytes) -> dict[str, str]:
        """Hand the message in, as Postfix would."""
        section, body = split(message)
        fields = [(f.name, f.value.replace(b"\r\n", b"\n")) for f in section]
        with MilterClient(str(self.socket)) as client:
            client.negotiate()
            client.connect("outside.test", "192.0.2.1")
            ended = client.transact(["<alice@example.test>"], fields, body)
        (results,) = (v for _, name, v in ended.insertions if name == b"Authentication-Results")
        return {s.decode(): result.decode() for result, s in _RESULT.findall(results)}
