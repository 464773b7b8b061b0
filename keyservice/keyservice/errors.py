"""What the key service answers when it does not do what it was asked; one sentence each."""

from keyservice.certificate import RejectedCertificate

__all__ = [
    "BadSetting",
    "ConfigError",
    "DatabaseBusy",
    "DatabaseUnavailable",
    "KeyServiceError",
    "LocalMailbox",
    "NotEnrolled",
    "OtherCertificate",
    "OutsideDomain",
    "Outweighed",
    "RejectedCertificate",
]


class ConfigError(Exception):
    """The configuration is unusable; the text names the key. Exit status 78 (sysexits.h)."""


class DatabaseUnavailable(Exception):
    """The database cannot be reached; a later start may succeed. Exit status 75 (sysexits.h)."""


class KeyServiceError(Exception):
    """Never raised itself. `error` and `status` are what the peer gets."""

    error = "internal"
    status = 500


class DatabaseBusy(KeyServiceError):
    """The database has more to write than it can; trying again helps."""

    error = "busy"
    status = 503


class OutsideDomain(KeyServiceError):
    """The domain is not in the configuration."""

    error = "outside_domain"
    status = 422


class NotEnrolled(KeyServiceError):
    """The mailbox has no certificate that is in use."""

    error = "not_enrolled"
    status = 404


class LocalMailbox(KeyServiceError):
    """The mailbox is ours; who asks about mailboxes of others wants the wrong thing."""

    error = "local_mailbox"
    status = 422


class OtherCertificate(KeyServiceError):
    """The certificate is not the one whose fingerprint was given, or that is in use."""

    error = "other_certificate"
    status = 422


class Outweighed(KeyServiceError):
    """The certificate in use is better attested than the one that was to replace it."""

    error = "outweighed"
    status = 422


class BadSetting(KeyServiceError):
    """A policy setting is unknown, or its value not allowed."""

    error = "bad_setting"
    status = 422
