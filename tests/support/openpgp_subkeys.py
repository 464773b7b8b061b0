"""Public-Subkey packet bodies of every algorithm, made without any OpenPGP program."""

from functools import cache

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.asymmetric.x448 import X448PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

CURVES: dict[str, tuple[str, type[ec.EllipticCurve]]] = {
    "p256": ("2a8648ce3d030107", ec.SECP256R1),
    "p384": ("2b81040022", ec.SECP384R1),
    "p521": ("2b81040023", ec.SECP521R1),
    "brainpool256": ("2b2403030208010107", ec.BrainpoolP256R1),
    "brainpool384": ("2b240303020801010b", ec.BrainpoolP384R1),
    "brainpool512": ("2b240303020801010d", ec.BrainpoolP512R1),
}
CURVE25519_OID = bytes.fromhex("2b060104019755010501")
KDF = bytes([3, 1, 8, 7])


def mpi(number: int) -> bytes:
    """Return `number` as an MPI."""
    bits = number.bit_length()
    return bits.to_bytes(2, "big") + number.to_bytes((bits + 7) // 8, "big")


def body(algorithm: int, material: bytes, version: int = 4) -> bytes:
    """Return the body of a Public-Subkey packet (RFC 9580 §5.5.2)."""
    length = len(material).to_bytes(4, "big") if version == 6 else b""
    return bytes([version]) + b"\x60\0\0\0" + bytes([algorithm]) + length + material


def ecdh(oid: bytes, point: bytes, kdf: bytes = KDF, version: int = 4) -> bytes:
    """Return the body for ECDH (RFC 9580 §5.5.5.6)."""
    material = bytes([len(oid)]) + oid + mpi(int.from_bytes(point, "big")) + kdf
    return body(18, material, version)


def rsa(modulus: int, exponent: int, algorithm: int = 1) -> bytes:
    """Return the body for RSA (RFC 9580 §5.5.5.1)."""
    return body(algorithm, mpi(modulus) + mpi(exponent))


def x25519_point() -> bytes:
    """Return a random point of 32 octets."""
    return X25519PrivateKey.generate().public_key().public_bytes_raw()


def curve_point(name: str) -> bytes:
    """Return a random point on one of `CURVES`, uncompressed."""
    public_key = ec.generate_private_key(CURVES[name][1]()).public_key()
    return public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def rsa_modulus(bits: int) -> int:
    """Return the modulus of a new key pair."""
    return generate_private_key(65_537, bits).public_key().public_numbers().n


@cache
def bodies() -> dict[str, bytes]:
    """Return a usable body for each algorithm and, where it matters, version."""
    x448 = X448PrivateKey.generate().public_key().public_bytes_raw()
    made = {
        "rsa": rsa(rsa_modulus(2048), 65_537),
        "rsa-encrypt-only": rsa(rsa_modulus(2048), 65_537, algorithm=2),
        "cv25519": ecdh(CURVE25519_OID, b"\x40" + x25519_point()),
        "x25519": body(25, x25519_point()),
        "x25519-v6": body(25, x25519_point(), version=6),
        "x448": body(26, x448),
        "x448-v6": body(26, x448, version=6),
        "p256-v6": ecdh(bytes.fromhex(CURVES["p256"][0]), curve_point("p256"), version=6),
    }
    for name, (oid, _) in CURVES.items():
        made[name] = ecdh(bytes.fromhex(oid), curve_point(name))
    return made
