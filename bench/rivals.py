"""The other milters for DKIM, as their manuals have them configured: opendkim and dkimpy-milter.

Debian packages of these names. Where one is not installed, its rows are missing.
"""

import base64
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from letterlock.dkim.signer import KeyType, Signer
from stack.postfix import HOSTNAME

_OPENDKIM = """\
Socket local:{socket}
Background no
Syslog no
UMask 000
RequireSafeKeys no
Canonicalization relaxed/relaxed
OversignHeaders From
"""

_OPENDKIM_SIGNER = """\
Mode s
Domain {domain}
Selector {selector}
KeyFile {key}
SignatureAlgorithm {algorithm}
"""

_OPENDKIM_VERIFIER = """\
Mode v
InternalHosts 192.0.2.250
AlwaysAddARHeader yes
Nameservers 127.0.0.1@{port}
"""

_DKIMPY_MILTER = """\
Socket local:{socket}
PidFile {folder}/pid
Syslog no
UMask 000
UserID root
Canonicalization relaxed/relaxed
"""

_DKIMPY_VERIFIER = f"""\
Mode v
AuthservID {HOSTNAME}
InternalHosts 192.0.2.250
"""

# It has no setting for the resolver, and takes the system's.
_WITH_RESOLVER = """\
import sys, dns.resolver
ours = dns.resolver.Resolver(configure=False)
ours.nameservers, ours.port = ["127.0.0.1"], int(sys.argv.pop())
dns.resolver.default_resolver = ours
import dkimpy_milter
dkimpy_milter.main()
"""


OPENDKIM, DKIMPY_MILTER = "opendkim", "dkimpy-milter"

Command = Callable[[Path, Path], list[str]]
"""Returns what is to be run; given a folder of its own, and the socket to listen at."""


class Rival(NamedTuple):
    """One of the two, set up in one way."""

    program: str
    what: str
    command: Command


def installed(wanted: Iterable[Rival]) -> list[Rival]:
    """Return those that can be started."""
    return [rival for rival in wanted if _found(rival.program)]


def missing() -> list[str]:
    """Return a note about each of the two that cannot be."""
    programs = (OPENDKIM, DKIMPY_MILTER)
    return [f"{name} is not installed, and not measured" for name in programs if not _found(name)]


def opendkim_signer(domain: str, signer: Signer) -> Command:
    """Return what signs for `domain`."""

    def command(folder: Path, socket: Path) -> list[str]:
        settings = _OPENDKIM_SIGNER.format(
            domain=domain,
            selector=signer.selector,
            key=_written(folder / "key.pem", signer.pem),
            algorithm=signer.algorithm.value.decode(),
        )
        return _opendkim(folder, socket, settings)

    return command


def opendkim_verifier(dns_port: int) -> Command:
    """Return what verifies with what the resolver says."""

    def command(folder: Path, socket: Path) -> list[str]:
        return _opendkim(folder, socket, _OPENDKIM_VERIFIER.format(port=dns_port))

    return command


def dkimpy_signer(domain: str, signers: Sequence[Signer]) -> Command:
    """Return what signs for `domain`, with a key of each type at most."""

    def command(folder: Path, socket: Path) -> list[str]:
        settings = [f"Mode s\nDomain {domain}\n"]
        for signer in signers:
            suffix = {KeyType.RSA: "", KeyType.ED25519: "Ed25519"}[signer.key_type]
            key = _written(folder / f"key{suffix}", _as_dkimpy_has_it(signer))
            settings.append(f"Selector{suffix} {signer.selector}\nKeyFile{suffix} {key}\n")
        return [_found(DKIMPY_MILTER), _dkimpy_config(folder, socket, "".join(settings))]

    return command


def dkimpy_verifier(dns_port: int) -> Command:
    """Return what verifies with what the resolver says."""

    def command(folder: Path, socket: Path) -> list[str]:
        with Path(_found(DKIMPY_MILTER)).open() as script:
            interpreter = script.readline().removeprefix("#!").strip()
        config = _dkimpy_config(folder, socket, _DKIMPY_VERIFIER)
        return [interpreter, "-P", "-c", _WITH_RESOLVER, config, str(dns_port)]

    return command


def _opendkim(folder: Path, socket: Path, settings: str) -> list[str]:
    text = _OPENDKIM.format(socket=socket) + settings
    config = _written(folder / "opendkim.conf", text.encode())
    return [_found(OPENDKIM), "-f", "-x", str(config)]


def _dkimpy_config(folder: Path, socket: Path, settings: str) -> str:
    text = _DKIMPY_MILTER.format(socket=socket, folder=folder) + settings
    return str(_written(folder / "dkimpy-milter.conf", text.encode()))


def _as_dkimpy_has_it(signer: Signer) -> bytes:
    key = load_pem_private_key(signer.pem, password=None)
    if isinstance(key, Ed25519PrivateKey):
        return base64.b64encode(key.private_bytes_raw())
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def _written(file: Path, octets: bytes) -> Path:
    file.parent.mkdir(exist_ok=True)
    file.touch(mode=0o600)
    file.write_bytes(octets)
    return file


def _found(program: str) -> str:
    """Return its path; empty if it is not installed."""
    return shutil.which(program, path="/usr/sbin:/usr/bin:/usr/local/bin") or ""
