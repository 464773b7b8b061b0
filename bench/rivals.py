"""The other milters for DKIM, as their manuals have them configured: opendkim and dkimpy-milter.

Debian packages of these names. Where one is not installed, its rows are missing.
"""

import base64
import shutil
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from letterlock.dkim.signer import KeyType, Signer

_OPENDKIM = """\
Socket local:{socket}
Background no
Syslog no
UMask 000
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
ResolverConfiguration {resolver}
"""

# Debian's opendkim is its own resolver, by libunbound.
_LIBUNBOUND = """\
server:
  do-not-query-localhost: no
forward-zone:
  name: "."
  forward-addr: 127.0.0.1@{port}
"""

_DKIMPY_MILTER = """\
Socket local:{socket}
PidFile {folder}/pid
Syslog no
UMask 000
UserID root
Canonicalization relaxed/relaxed
"""

_DKIMPY_VERIFIER = """\
Mode v
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


class NotInstalled(LookupError):
    """The text is the name of a program."""


def opendkim_signer(folder: Path, socket: Path, domain: str, signer: Signer) -> list[str]:
    """Return the command that signs for `domain`. Raises NotInstalled."""
    key = _written(folder / "key.pem", signer.pem)
    settings = _OPENDKIM_SIGNER.format(
        domain=domain, selector=signer.selector, key=key, algorithm=signer.algorithm.value.decode()
    )
    return _opendkim(folder, socket, settings)


def opendkim_verifier(folder: Path, socket: Path, dns_port: int) -> list[str]:
    """Return the command that verifies with what the resolver says. Raises NotInstalled."""
    resolver = _written(folder / "unbound.conf", _LIBUNBOUND.format(port=dns_port).encode())
    return _opendkim(folder, socket, _OPENDKIM_VERIFIER.format(resolver=resolver))


def dkimpy_signer(
    folder: Path, socket: Path, domain: str, signers: Sequence[Signer]
) -> list[str]:
    """Return the command that signs for `domain`, with a key of each type at most.

    Raises NotInstalled.
    """
    settings = [f"Mode s\nDomain {domain}\n"]
    for signer in signers:
        suffix = {KeyType.RSA: "", KeyType.ED25519: "Ed25519"}[signer.key_type]
        key = _written(folder / f"key{suffix}", _as_dkimpy_has_it(signer))
        settings.append(f"Selector{suffix} {signer.selector}\nKeyFile{suffix} {key}\n")
    program = _program("dkimpy-milter")
    return [program, _dkimpy_config(folder, socket, "".join(settings))]


def dkimpy_verifier(folder: Path, socket: Path, dns_port: int) -> list[str]:
    """Return the command that verifies with what the resolver says. Raises NotInstalled."""
    with Path(_program("dkimpy-milter")).open() as script:
        interpreter = script.readline().removeprefix("#!").strip()
    config = _dkimpy_config(folder, socket, _DKIMPY_VERIFIER)
    return [interpreter, "-P", "-c", _WITH_RESOLVER, config, str(dns_port)]


def _opendkim(folder: Path, socket: Path, settings: str) -> list[str]:
    text = _OPENDKIM.format(socket=socket) + settings
    config = _written(folder / "opendkim.conf", text.encode())
    return [_program("opendkim"), "-f", "-x", str(config)]


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


def _program(name: str) -> str:
    program = shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        raise NotInstalled(name)
    return program
