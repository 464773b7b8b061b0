"""The public key that a certificate is to be about: from a request, and strong enough."""

import hashlib

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyservice.client_ca.errors import UnsuitableRequest

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey

REQUEST_OCTETS_MAX = 16_384

_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_HASHES = (SHA256, SHA384, SHA512)
_RSA_BITS_MIN = 2048
_RSA_BITS_MAX = 4096
"""More costs whoever verifies, at every connection, and gains nothing."""

_RSA_EXPONENT_MIN = 65537


def of_request(octets: bytes) -> PublicKey:
    """Return the public key of a PKCS#10 request (RFC 2986), PEM or DER.

    Nothing else of the request counts: names and extensions are ours to say. Raises
    UnsuitableRequest if it is malformed, its key is weak, or its signature does not verify,
    which proves that who made it has the private key.
    """
    if len(octets) > REQUEST_OCTETS_MAX:
        raise UnsuitableRequest(f"more than {REQUEST_OCTETS_MAX} octets")
    try:
        request = _parsed(octets)
        public_key = strong(request.public_key())
        signed_with = request.signature_hash_algorithm
        # Ed25519 hashes by itself.
        is_sound = signed_with is None or isinstance(signed_with, _HASHES)
        is_theirs = is_sound and request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm):
        raise UnsuitableRequest("not a PKCS#10 request that can be read") from None
    if not is_sound:
        raise UnsuitableRequest("signed with a hash other than SHA-256, SHA-384 or SHA-512")
    if not is_theirs:
        raise UnsuitableRequest("its signature does not verify")
    return public_key


def strong(public_key: object) -> PublicKey:
    """Return `public_key` if it may be certified, or raise UnsuitableRequest."""
    match public_key:
        case ed25519.Ed25519PublicKey():
            return public_key
        case ec.EllipticCurvePublicKey():
            if isinstance(public_key.curve, _CURVES):
                return public_key
            raise UnsuitableRequest("its curve is none of P-256, P-384 and P-521")
        case rsa.RSAPublicKey():
            if not _RSA_BITS_MIN <= public_key.key_size <= _RSA_BITS_MAX:
                raise UnsuitableRequest(f"RSA must have {_RSA_BITS_MIN} to {_RSA_BITS_MAX} bits")
            if public_key.public_numbers().e < _RSA_EXPONENT_MIN:
                raise UnsuitableRequest(f"the RSA exponent must be {_RSA_EXPONENT_MIN} or more")
            return public_key
        case _:
            raise UnsuitableRequest("its key is not of EC, RSA or Ed25519")


def fingerprint(public_key: PublicKey) -> str:
    """Return SHA-256 over the SubjectPublicKeyInfo (RFC 5280 §4.1.2.7), in lower case."""
    octets = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(octets).hexdigest()


def _parsed(octets: bytes) -> x509.CertificateSigningRequest:
    if b"-----BEGIN" in octets:
        return x509.load_pem_x509_csr(octets)
    return x509.load_der_x509_csr(octets)
