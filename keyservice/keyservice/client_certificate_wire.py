"""Client certificates and who issues them, as records; version 1 of the interface.

JSON by msgspec: octets are base64, times are whole seconds since 1970 (UTC), fingerprints are
SHA-256 over the DER form, 64 digits in lower case.
"""

from enum import Enum
from typing import Annotated

import msgspec


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Sent whole; a field that one side does not know is an error."""


class ClientCertificateState(Enum):
    """Whether mail can be submitted with a client certificate."""

    IN_FORCE = "in_force"
    REVOKED = "revoked"
    ENDED = "ended"
    UNTRUSTED = "untrusted"
    """The authority that issued it was retired, or has ended."""

    OUTSIDE = "outside"
    """The domain of its mailbox is not in the configuration any more."""


class ClientCertificateRequest(_Record, frozen=True):
    """Where the key pair comes from."""

    request: bytes | None = None
    """A PKCS#10 request (RFC 2986), PEM or DER, of which only the public key counts; None: the
    key service generates the key pair, hands it out once and keeps nothing of it."""

    pkcs12_password: Annotated[str, msgspec.Meta(pattern="^[ -~]{8,128}$")] | None = None
    """Hand out a generated key pair as PKCS#12 (RFC 7292) under this password: 8 to 128 characters
    of ASCII, because programs do not agree about others."""

    def __repr__(self) -> str:
        """Return a text without the password, for logs and tracebacks."""
        return "ClientCertificateRequest(…)"


class ClientCertificate(_Record, frozen=True):
    """One line of the list."""

    mailbox: str
    fingerprint: str
    issuer: str
    """Common name of the authority."""

    not_before: int
    not_after: int
    issued_at: int
    state: ClientCertificateState
    revoked_at: int | None = None


class ClientCertificatePage(_Record, frozen=True):
    """Some client certificates, in the order of their fingerprints."""

    certificates: tuple[ClientCertificate, ...]
    next: str | None = None
    """Give it as `after` for the next page; None: this was the last."""


class IssuedClientCertificate(_Record, frozen=True):
    """A new client certificate, with its private key if that was generated."""

    mailbox: str
    fingerprint: str
    issuer: str
    not_before: int
    not_after: int
    certificate: str
    """PEM."""

    ca_certificate: str
    """PEM."""

    private_key: str | None = None
    """PKCS#8 in PEM, not encrypted: this once, and never again."""

    pkcs12: bytes | None = None
    """All of it under the password that was given."""

    def __repr__(self) -> str:
        """Return a text without the private key, for logs and tracebacks."""
        return f"IssuedClientCertificate({self.fingerprint!r}, …)"


class RevokedClientCertificates(_Record, frozen=True):
    """Nobody submits mail with this key any more, from this moment on."""

    mailbox: str
    fingerprints: tuple[str, ...]
    """All certificates for the same key: whoever has it has it for each of them."""


class ClientCA(_Record, frozen=True):
    """A certification authority of this key service."""

    name: str
    """Its common name."""

    fingerprint: str
    certificate: str
    """PEM."""

    not_after: int
    created_at: int
    issues: bool
    """Whether it is the one that issues: the newest that is neither retired nor ended."""

    certificates: int
    """How many it issued that are neither revoked nor ended."""

    retired_at: int | None = None


class ClientCAs(_Record, frozen=True):
    """All of them, the newest first."""

    authorities: tuple[ClientCA, ...]
    trusted: str
    """PEM of those that are neither retired nor ended; what Postfix is to trust."""

    file_problem: str | None = None
    """Why the file for Postfix could not be written; None: it is as it should be, or there is
    none."""
