"""Settings of all parts of a stack where users hand in mail, and the TLS of its servers."""

import datetime
import ipaddress
import secrets
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from stack import dovecot
from stack.fragments import fragment
from stack.layout import Layout

MILTER_SOCKET = "letterlock/submission.sock"
SOCKETMAP = "letterlock/socketmap.sock"
"""Both relative to the queue directory, as in a deployment with chroot."""


def milter_settings(layout: Layout) -> dict[str, object]:
    """Return the milter's [submission]; the keys for DKIM are up to the test."""
    dkim_directory(layout).mkdir(exist_ok=True)
    return {
        "socket": f"unix:{layout.queue}/{MILTER_SOCKET}",
        "workers": 1,
        "dkim_directory": str(dkim_directory(layout)),
    }


def keyservice_settings(layout: Layout) -> dict[str, dict[str, object]]:
    """Return the sections of the key service that have to do with client certificates."""
    passphrase = layout.state / "client-ca.passphrase"
    passphrase.touch(mode=0o600)
    passphrase.write_text(secrets.token_urlsafe(32) + "\n")
    return {
        "client_ca": {
            "passphrase_file": str(passphrase),
            "trusted_file": str(trusted_file(layout)),
        },
        "socketmap": {"socket": f"{layout.queue}/{SOCKETMAP}", "socket_group": "postfix"},
    }


def main_cf(layout: Layout) -> str:
    """Return the lines for main.cf; makes the server's certificate."""
    chain = _make_server_certificate(server_certificate(layout))
    # Everybody owns his own address, and the aliases that lead to him.
    own = layout.postfix / "etc" / "own-addresses"
    own.write_text("/^([^@+]+)(\\+[^@]*)?@(.+)$/ ${1}@${3}\n")
    text = fragment(
        "submission-main.cf",
        {
            "SUBMISSION": f"unix:{MILTER_SOCKET}",
            "SOCKETMAP": f"unix:{SOCKETMAP}",
            "SENDER_LOGINS": f"$virtual_alias_maps, regexp:{own}",
        },
    )
    return f"smtpd_tls_chain_files = {chain}\n{text}"


def master_cf(layout: Layout) -> str:
    """Return the services for master.cf, on ports of the stack."""
    text = fragment(
        "submission-master.cf",
        {
            "CHROOT": "n",
            "CLIENT_CA": str(trusted_file(layout)),
            "SASL": str(dovecot.login_socket(layout)),
        },
    )
    for name in ("submissions", "submission"):
        address = "{}:{}".format(*layout.address(name))
        text = text.replace(f"\n{name} ", f"\n{address} ")
    return text


def server_certificate(layout: Layout) -> Path:
    """Where the certificate of the servers is, with its key."""
    return layout.config / "server.pem"


def trusted_file(layout: Layout) -> Path:
    """Where Postfix finds the authorities of client certificates."""
    return layout.state / "client-ca.pem"


def dkim_directory(layout: Layout) -> Path:
    """Where `letterlock dkim-key` is to keep its keys."""
    return layout.state / "dkim"


def _make_server_certificate(file: Path) -> Path:
    """Make a self-signed certificate for the loopback address; return the file with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stack")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file.touch(mode=0o600)
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return file
