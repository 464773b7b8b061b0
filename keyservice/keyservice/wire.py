"""What the key service says about a mailbox, as records; version 1 of the interface.

The same records travel over HTTP, rest in Redis and are what the milter decides on.
JSON by msgspec: octets are base64, times are whole seconds since 1970 (UTC).
"""

from enum import Enum

import msgspec


class Outcome(Enum):
    """What a lookup can say. Each obliges the caller to something else."""

    FOUND = "found"
    """There is a usable certificate: encrypt to `subkeys`."""

    NOT_FOUND = "not_found"
    """A mailbox of ours without a certificate: its policy decides."""

    REJECTED = "rejected"
    """There is a certificate and it must not be used; `reason` says why."""

    OUTSIDE = "outside"
    """The domain is not served by this key service; its mail is not ours to encrypt."""

    UNAVAILABLE = "unavailable"
    """Nobody could say before the deadline. Made by the client, never sent: defer."""


class WithoutCertificate(Enum):
    """What happens to mail for a mailbox that has no certificate and never had one."""

    DEFER = "defer"
    REJECT = "reject"
    ACCEPT = "accept"
    """The operator's written consent to plaintext for newcomers."""


class HeaderPolicy(Enum):
    """Header Confidentiality Policies (RFC 9788 §3.2), and one of ours."""

    HCP_BASELINE = "hcp_baseline"
    HCP_SHY = "hcp_shy"
    HCP_ALL = "hcp_all"
    """Ours: nothing stays outside but what delivery needs."""


class ArrivedEncrypted(Enum):
    """What is done with mail that arrives encrypted to the recipient's own subkey."""

    HEADER = "header"
    """Body untouched; what the outer header loses is kept, encrypted."""

    WRAP = "wrap"
    PASS = "pass"  # noqa: S105 (a policy, no password)


class MailboxPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the operator decided for a domain, or for one mailbox of it."""

    without_certificate: WithoutCertificate = WithoutCertificate.DEFER
    header_policy: HeaderPolicy = HeaderPolicy.HCP_BASELINE
    arrived_encrypted: ArrivedEncrypted = ArrivedEncrypted.HEADER
    keep_outside: tuple[str, ...] = ()
    """Names of header fields that may stay outside whatever the header policy says."""

    mailer: str = ""
    """addr-spec in the outer From under `hcp_all`; empty: postmaster of the domain."""


class EncryptionSubkey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A vetted (sub)key to encrypt to."""

    fingerprint: str
    """Lower-case hexadecimal: 40 digits for version 4, 64 for version 6."""

    packet: bytes
    """Body of the Public-Key or Public-Subkey packet (RFC 9580 §5.5.2)."""

    not_after: int | None = None
    """It must not be used from this second on; None: no end was set."""


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that the milter needs to treat one mailbox. Holds no verdict about a message."""

    mailbox: str
    """`Mailbox.key` of the mailbox that was asked for."""

    outcome: Outcome
    policy: MailboxPolicy = MailboxPolicy()
    had_certificate: bool = False
    """Whether the mailbox has or ever had one: then plaintext is out of the question."""

    fingerprint: str | None = None
    """Of the certificate's primary key."""

    subkeys: tuple[EncryptionSubkey, ...] = ()
    reason: str | None = None
    """For the log and the operator, never for the peer."""

    issued_at: int = 0
    expires_at: int = 0
    """From this second on the answer must be asked for anew."""
