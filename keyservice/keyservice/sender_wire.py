"""What the key service says about a mailbox of ours that sends, as records; version 1.

Beside `wire`: those answers are about mail for a mailbox, these about mail from it. JSON by
msgspec: octets are base64, times are whole seconds since 1970 (UTC).
"""

from enum import Enum

import msgspec

from keyservice.autocrypt import PreferEncrypt
from keyservice.levels import Level
from keyservice.wire import EncryptionSubkey


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Sent whole; a field that one side does not know is an error."""


class Outgoing(Enum):
    """What happens to mail for a mailbox of somebody else."""

    NEVER = "never"
    """It is sent as it was submitted."""

    WHEN_KNOWN = "when-known"
    """It is encrypted where a usable certificate is known that is attested well enough."""

    REQUIRED = "required"
    """It is encrypted, or the whole message is refused."""


class SenderPolicy(_Record, frozen=True):
    """What the operator decided for mail from a domain, or from one mailbox of it."""

    outgoing: Outgoing = Outgoing.WHEN_KNOWN
    outgoing_level: Level = Level.PROVIDER_TRUST
    """Certificates that are attested less well count as not known."""

    copy_to_self: bool = False
    """Whether what is encrypted for others can be read by the sender, too."""

    autocrypt: bool = True
    """Whether an Autocrypt field is added where the client wrote none."""

    prefer_encrypt: PreferEncrypt = PreferEncrypt.NOPREFERENCE
    """What the added field says; the owner's wish."""

    autocrypt_enrols: bool = False
    """Whether an Autocrypt field that the owner's own client wrote enrols its certificate."""


class Sender(_Record, frozen=True):
    """All that the milter needs of a mailbox that sends. Holds no verdict about a message."""

    mailbox: str
    """`Mailbox.key` of the mailbox that was asked for."""

    is_ours: bool
    """Whether its domain is served here; nobody submits mail for others."""

    policy: SenderPolicy = SenderPolicy()
    issuers: tuple[str, ...] = ()
    """Common names of our CAs that issued a client certificate for this mailbox that is in force
    now. Empty: it has none, and who shows one is refused."""

    fingerprint: str | None = None
    """Of its own OpenPGP certificate in use, if that is usable."""

    subkeys: tuple[EncryptionSubkey, ...] = ()
    """To encrypt to for `copy_to_self`."""

    keydata: bytes | None = None
    """Its certificate for an Autocrypt field: five packets, binary; None: there is none, or it
    cannot be made small enough."""

    issued_at: int = 0
