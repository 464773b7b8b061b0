"""A small reader of OpenPGP for property tests: packets, and SEIPD given its session key.

Written against RFC 9580 apart from the code under test, and as strict as it can be.
"""

import hashlib
import struct

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.aead import AESOCB3
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


def packets(octets: bytes) -> list[tuple[int, bytes]]:
    """Return types and bodies of all packets, partial lengths joined (RFC 9580 §4.2)."""
    found, at = [], 0
    while at < len(octets):
        first, at = octets[at], at + 1
        assert first & 0x80, "not a packet"
        if not first & 0x40:
            size = 1 << (first & 3)
            assert size < 8, "indeterminate length"
            length = int.from_bytes(octets[at : at + size], "big")
            at += size + length
            found.append((first >> 2 & 15, octets[at - length : at]))
            continue
        body, is_partial = b"", True
        while is_partial:
            length, is_partial, at = _length(octets, at)
            assert not is_partial or body or length >= 512, "first partial length too short"
            body += octets[at : at + length]
            at += length
        found.append((first & 63, body))
    assert at == len(octets), "last packet is cut off"
    return found


def _length(octets: bytes, at: int) -> tuple[int, bool, int]:
    first = octets[at]
    if first < 192:
        return first, False, at + 1
    if first < 224:
        return (first - 192) * 256 + octets[at + 1] + 192, False, at + 2
    if first == 255:
        return struct.unpack_from(">I", octets, at + 1)[0], False, at + 5
    return 1 << (first - 224), True, at + 1


def decrypt(seipd_packet: bytes, session_key: bytes) -> bytes:
    """Return the content of the one literal data packet inside one SEIPD packet."""
    ((packet_type, body),) = packets(seipd_packet)
    assert packet_type == 18
    ((packet_type, literal),) = packets(
        {1: _decrypt_v1, 2: _decrypt_v2}[body[0]](body, session_key)
    )
    assert (packet_type, literal[:6]) == (11, b"b\0\0\0\0\0")
    return literal[6:]


def _decrypt_v1(body: bytes, session_key: bytes) -> bytes:
    decryptor = Cipher(algorithms.AES(session_key), CFB(bytes(16))).decryptor()
    clear = decryptor.update(body[1:]) + decryptor.finalize()
    assert clear[14:16] == clear[16:18]
    assert clear[-22:-20] == b"\xd3\x14"
    assert clear[-20:] == hashlib.sha1(clear[:-20]).digest()
    return clear[18:-22]


def _decrypt_v2(body: bytes, session_key: bytes) -> bytes:
    assert body[:3] == b"\2\x09\2"
    associated, salt, ciphertext = b"\xd2" + body[:4], body[4:36], body[36:]
    derived = HKDF(SHA256(), 39, salt, associated).derive(session_key)
    ocb, iv, size = AESOCB3(derived[:32]), derived[32:], (1 << (body[3] + 6)) + 16
    chunks, last_tag = ciphertext[:-16], ciphertext[-16:]
    clear, index = b"", 0
    for start in range(0, len(chunks), size):
        nonce = iv + struct.pack(">Q", index)
        clear += ocb.decrypt(nonce, chunks[start : start + size], associated)
        index += 1
    total = associated + struct.pack(">Q", len(clear))
    assert ocb.decrypt(iv + struct.pack(">Q", index), last_tag, total) == b""
    return clear
