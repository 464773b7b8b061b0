"""Why a client certificate is not issued, or an authority not there."""

from keyservice.errors import KeyServiceError


class CALocked(KeyServiceError):
    """The private key of the authority cannot be used; all that needs none of it goes on."""

    error = "ca_locked"
    status = 503


class NoAuthority(KeyServiceError):
    """There is no authority that issues."""

    error = "no_ca"
    status = 422


class NoSuchAuthority(KeyServiceError):
    """No authority that is not retired has this name."""

    error = "no_such_ca"
    status = 404


class UnsuitableAddress(KeyServiceError):
    """A certificate cannot name this address."""

    error = "unsuitable_address"
    status = 422


class UnsuitableRequest(KeyServiceError):
    """The certification request is malformed, does not prove possession, or its key is weak."""

    error = "unsuitable_request"
    status = 422


class KeyTaken(KeyServiceError):
    """The public key belonged to a certificate that was revoked, or belongs to somebody else."""

    error = "key_taken"
    status = 422


class NoSuchCertificate(KeyServiceError):
    """No client certificate of ours has this fingerprint."""

    error = "no_such_certificate"
    status = 404


class Revoked(KeyServiceError):
    """It was revoked, and that is final."""

    error = "revoked"
    status = 422
