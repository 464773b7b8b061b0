"""Symmetrically Encrypted and Integrity Protected Data (RFC 9580 §5.13), written as it comes.

A literal data packet inside an SEIPD packet, both with partial body lengths, so memory does
not grow with the message. Never compressed: lengths of compressed text tell about the text.
"""

import hashlib
import secrets
from enum import Enum
from typing import Protocol, assert_never

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.aead import AESOCB3
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from letterlock.openpgp.packets import (
    PIECE_OCTETS,
    Octets,
    PacketType,
    PartialBody,
    body_length,
    header_octet,
)

AES_256 = 9
"""RFC 9580 §9.3. The one cipher we use for content."""

SESSION_KEY_OCTETS = 32
_BLOCK_OCTETS = 16

_OCB = 2
"""RFC 9580 §9.6. The only AEAD mode every implementation must have."""

_OCB_CHUNK_SIZE_OCTET = 10
_OCB_CHUNK_OCTETS = 1 << (_OCB_CHUNK_SIZE_OCTET + 6)
_OCB_IV_OCTETS = 7
"""Nonce of 15 octets less the 8 of the chunk index (RFC 9580 §5.13.2)."""


class SEIPDVersion(Enum):
    """How the data is encrypted; PKESKs must be of the version it asks for (§10.3.2.1)."""

    V1 = 1
    """AES-256-CFB and a Modification Detection Code. Read by every client."""

    V2 = 2
    """AES-256-OCB. Read by clients that have version 6 keys."""


class SessionKey:
    """An AES-256 key for one message. Shows itself to nobody who does not ask for `octets`."""

    # Not a subclass of bytes: those print themselves into every log and traceback.
    __slots__ = ("_octets",)

    def __init__(self, octets: bytes) -> None:
        """Raise ValueError unless there are 32 octets."""
        if len(octets) != SESSION_KEY_OCTETS:
            raise ValueError("a session key has 32 octets")
        self._octets = octets

    @classmethod
    def generate(cls) -> "SessionKey":
        """Return a new session key from the system's random source."""
        return cls(secrets.token_bytes(SESSION_KEY_OCTETS))

    @property
    def octets(self) -> bytes:
        """The 32 octets, for the cipher and the PKESK only."""
        return self._octets

    def __repr__(self) -> str:
        """Return the same text for every session key."""
        return "<SessionKey>"

    def __reduce__(self) -> str:
        """Refuse to be pickled or copied."""
        raise TypeError("a session key does not leave its process")


class EncryptedData:
    """The SEIPD packet of one message. `write` and `close` return what of it is complete."""

    def __init__(self, session_key: SessionKey, version: SEIPDVersion) -> None:
        self._cipher = _cipher(session_key, version)
        self._seipd = PartialBody(PacketType.SEIPD, self._cipher.preamble)
        # RFC 9580 §5.9: binary, no file name, no date. All three would be hints.
        self._literal = PartialBody(PacketType.LITERAL_DATA, b"b\0\0\0\0\0")

    def write(self, plaintext: Octets) -> bytes:
        """Encrypt the next octets of the message, however many."""
        if len(plaintext) <= PIECE_OCTETS:
            return self._encrypt(self._literal.write(plaintext))
        view = memoryview(plaintext)
        starts = range(0, len(view), PIECE_OCTETS)
        return b"".join(self.write(view[start : start + PIECE_OCTETS]) for start in starts)

    def close(self) -> bytes:
        """Return the rest of the packet. Nothing can be written afterwards."""
        rest = self._encrypt(self._literal.close())
        return rest + self._seipd.write(self._cipher.finish()) + self._seipd.close()

    def _encrypt(self, octets: bytes) -> bytes:
        return self._seipd.write(self._cipher.encrypt(octets)) if octets else b""


class _ContentCipher(Protocol):
    """What turns packets into the body of an SEIPD packet."""

    preamble: bytes

    def encrypt(self, octets: bytes) -> Octets:
        """Return ciphertext; the octets stay the caller's only until the next call."""

    def finish(self) -> Octets:
        """Return what ends the ciphertext, with the proof of integrity."""


def _cipher(session_key: SessionKey, version: SEIPDVersion) -> _ContentCipher:
    match version:
        case SEIPDVersion.V1:
            return _CFBWithMDC(session_key)
        case SEIPDVersion.V2:
            return _ChunkedOCB(session_key)
        case _:
            assert_never(version)


class _CFBWithMDC:
    """RFC 9580 §5.13.1."""

    preamble = b"\x01"

    def __init__(self, session_key: SessionKey) -> None:
        zeros = bytes(_BLOCK_OCTETS)
        self._encryptor = Cipher(algorithms.AES(session_key.octets), CFB(zeros)).encryptor()
        # The MDC is inside the encryption; its SHA-1 need not resist collisions.
        self._digest = hashlib.sha1(usedforsecurity=False)
        self._ciphertext = bytearray()
        prefix = secrets.token_bytes(_BLOCK_OCTETS)
        self._prefix = prefix + prefix[-2:]

    def encrypt(self, octets: bytes) -> Octets:
        octets, self._prefix = self._prefix + octets, b""
        self._digest.update(octets)
        return self._update(octets)

    def finish(self) -> Octets:
        # The MDC packet's own two header octets are hashed, too (RFC 9580 §5.13.1).
        mdc_header = header_octet(PacketType.MDC) + body_length(self._digest.digest_size)
        self._digest.update(mdc_header)
        mdc = bytes(self._update(mdc_header + self._digest.digest()))
        return mdc + self._encryptor.finalize()

    def _update(self, octets: bytes) -> memoryview:
        # One buffer for the whole message: CFB into a new object costs half as much again.
        room = len(octets) + _BLOCK_OCTETS - 1
        if len(self._ciphertext) < room:
            self._ciphertext = bytearray(room)
        written = self._encryptor.update_into(octets, self._ciphertext)
        return memoryview(self._ciphertext)[:written]


class _ChunkedOCB:
    """RFC 9580 §5.13.2."""

    def __init__(self, session_key: SessionKey) -> None:
        parameters = bytes([SEIPDVersion.V2.value, AES_256, _OCB, _OCB_CHUNK_SIZE_OCTET])
        salt = secrets.token_bytes(32)
        self.preamble = parameters + salt
        self._associated = header_octet(PacketType.SEIPD) + parameters
        size = SESSION_KEY_OCTETS + _OCB_IV_OCTETS
        derived = HKDF(SHA256(), size, salt, self._associated).derive(session_key.octets)
        self._ocb = AESOCB3(derived[:SESSION_KEY_OCTETS])
        self._iv = derived[SESSION_KEY_OCTETS:]
        self._pending = bytearray()
        self._chunks = 0
        self._octets = 0

    def encrypt(self, octets: bytes) -> Octets:
        self._pending += octets
        ciphertext = b""
        while len(self._pending) >= _OCB_CHUNK_OCTETS:
            ciphertext += self._chunk(bytes(self._pending[:_OCB_CHUNK_OCTETS]))
            del self._pending[:_OCB_CHUNK_OCTETS]
        return ciphertext

    def finish(self) -> Octets:
        last = self._chunk(bytes(self._pending)) if self._pending else b""
        total = self._octets.to_bytes(8, "big")
        return last + self._ocb.encrypt(self._nonce(), b"", self._associated + total)

    def _chunk(self, octets: bytes) -> bytes:
        chunk = self._ocb.encrypt(self._nonce(), octets, self._associated)
        self._chunks += 1
        self._octets += len(octets)
        return chunk

    def _nonce(self) -> bytes:
        return self._iv + self._chunks.to_bytes(8, "big")
