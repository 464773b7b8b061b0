"""What an operator puts before the public listener: TLS on port 443 under the domain's names.

In a network and mount namespace of its own, where the names are in /etc/hosts, no others
exist and the only certificate authority is ours, so that programs find the front as they find
the world's. Needs root, or the right to make namespaces.
"""

import contextlib
import datetime
import shlex
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SYSTEM_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
DEADLINE_SECONDS = 120

_ENTER = """
set -e
ip link set lo up
mount --bind {hosts} /etc/hosts
mount --bind {resolver} /etc/resolv.conf
mount --bind {authority} {system_authorities}
{python} {this} {chain} {target} &
front=$!
trap 'kill $front' EXIT
{python} - <<'END'
import socket, time
for _ in range(300):
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 443)) == 0:
            break
    time.sleep(0.1)
END
set +e
"""


class TLSFront:
    """Runs programs in a network where `names` lead to the listener at a unix socket."""

    def __init__(self, directory: Path, target: Path, names: Sequence[str]) -> None:
        self._directory = directory
        self._target = target
        self._hosts = directory / "hosts"
        self._hosts.write_text(f"127.0.0.1 localhost {' '.join(names)}\n")
        self._resolver = directory / "resolv.conf"
        self._resolver.write_text("nameserver 127.0.0.1\n")
        self._authority, self._chain = directory / "authority.pem", directory / "chain.pem"
        _certify(names, self._authority, self._chain)

    def run(self, command: Sequence[str], **environment: str) -> subprocess.CompletedProcess[bytes]:
        """Run `command` there, and the front for as long as it takes."""
        enter = _ENTER.format(
            hosts=self._hosts,
            resolver=self._resolver,
            authority=self._authority,
            system_authorities=SYSTEM_AUTHORITIES,
            python=sys.executable,
            this=__file__,
            chain=self._chain,
            target=self._target,
        )
        exports = "".join(f"export {n}={shlex.quote(v)}\n" for n, v in environment.items())
        return subprocess.run(
            ["unshare", "--net", "--mount", "sh", "-c", enter + exports + shlex.join(command)],
            capture_output=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )


def _certify(names: Sequence[str], authority_file: Path, chain_file: Path) -> None:
    authority_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    usage = x509.BasicConstraints(ca=True, path_length=0)
    authority = _signed(issuer, issuer, authority_key.public_key(), authority_key, usage)
    server = _signed(subject, issuer, server_key.public_key(), authority_key, alternatives)
    pem = serialization.Encoding.PEM
    authority_file.write_bytes(authority.public_bytes(pem))
    private = server_key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    chain_file.write_bytes(private + server.public_bytes(pem))


def _signed(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    key: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        .sign(key, hashes.SHA256())
    )


def _serve(chain: str, target: str) -> None:
    """Relay what comes in over TLS at port 443 to a unix socket, for ever."""
    dns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    dns.bind(("127.0.0.1", 53))
    threading.Thread(target=_deny_names, args=(dns,), daemon=True).start()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    with socket.create_server(("127.0.0.1", 443)) as listening:
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=_relay, args=(context, connection, target), daemon=True).start()


def _deny_names(dns: socket.socket) -> None:
    """Be a DNS in which no name exists: a lookup that nobody answers is another thing."""
    with dns:
        while True:
            query, client = dns.recvfrom(512)
            # RFC 1035 §4.1.1: a response, recursion available, NXDOMAIN; one question.
            question = query[12 : query.index(b"\0", 12) + 5]
            dns.sendto(query[:2] + b"\x81\x83\0\1\0\0\0\0\0\0" + question, client)


def _relay(context: ssl.SSLContext, connection: socket.socket, target: str) -> None:
    """Pass one request on, and its reply back until the listener closes."""
    with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as client:
        request = b""
        while b"\r\n\r\n" not in request:
            chunk = client.recv(65_536)
            if not chunk:
                return
            request += chunk
        start, _, rest = request.partition(b"\r\n")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.connect(target)
            listener.sendall(start + b"\r\nConnection: close\r\n" + rest)
            while reply := listener.recv(65_536):
                client.sendall(reply)


if __name__ == "__main__":
    _serve(*sys.argv[1:])
