"""The encrypted content, read with the session key by a decryptor of the tests' own."""

import copy
import pickle
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from letterlock.openpgp import EncryptedData, SEIPDVersion, SessionKey
from openpgp_content import decrypt, packets

OCTETS = bytes(range(32))
VERSIONS = pytest.mark.parametrize("version", SEIPDVersion)


def encrypted(chunks: list[bytes], version: SEIPDVersion) -> bytes:
    """Return one SEIPD packet."""
    content = EncryptedData(SessionKey(OCTETS), version)
    return b"".join(map(content.write, chunks)) + content.close()


@VERSIONS
@settings(deadline=None)
@given(lengths=st.lists(st.one_of(st.integers(0, 300), st.integers(0, 200_000)), max_size=5))
def test_chunks_do_not_show(version: SEIPDVersion, lengths: list[int]) -> None:
    """However the plaintext comes, the same text comes out."""
    chunks = [bytes([number]) * length for number, length in enumerate(lengths)]

    assert b"".join(chunks) == decrypt(encrypted(chunks, version), OCTETS)


@VERSIONS
@pytest.mark.parametrize("octets", [65_516, 65_530, 65_535, 131_060, 131_072, 200_000])
def test_one_octet_at_a_boundary_is_not_lost(version: SEIPDVersion, octets: int) -> None:
    """Around each piece and each OCB chunk the text is whole."""
    for length in range(octets - 8, octets + 8):
        text = bytes(length - 1) + b"!"

        assert text == decrypt(encrypted([text], version), OCTETS)


@VERSIONS
def test_nothing_repeats_from_message_to_message(version: SEIPDVersion) -> None:
    """Even with one session key, prefix or salt make the ciphertexts differ."""
    first, second = (packets(encrypted([b"text"], version))[0][1] for _ in range(2))

    assert first[5:] != second[5:]


@VERSIONS
def test_views_and_arrays_are_taken(version: SEIPDVersion) -> None:
    """The caller may reuse its buffer at once."""
    content = EncryptedData(SessionKey(OCTETS), version)
    buffer = bytearray(b"a" * 70_000)
    written = content.write(memoryview(buffer))
    buffer[:] = b"b" * 70_000
    written += content.write(buffer) + content.close()

    assert b"a" * 70_000 + b"b" * 70_000 == decrypt(written, OCTETS)


@VERSIONS
def test_memory_does_not_grow_with_the_message(version: SEIPDVersion) -> None:
    """25 MB pass through less than a megabyte."""
    content, chunk = EncryptedData(SessionKey.generate(), version), bytes(65_535)
    tracemalloc.start()
    try:
        for _ in range(25_000_000 // len(chunk)):
            content.write(chunk)
        content.close()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 700_000


def test_a_session_key_shows_itself_to_nobody() -> None:
    """No text made of it tells an octet, and it can be neither pickled nor copied."""
    session_key = SessionKey(OCTETS)

    assert {"<SessionKey>"} == {repr(session_key), str(session_key), f"{session_key}"}
    assert not isinstance(session_key, bytes)
    assert not hasattr(session_key, "__dict__")
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            attempt(session_key)


def test_session_keys_are_random_and_of_one_length() -> None:
    """Two of them differ; another length than AES-256 needs is refused, without the octets."""
    assert SessionKey.generate().octets != SessionKey.generate().octets
    with pytest.raises(ValueError, match=r"32 octets$"):
        SessionKey(b"secret")
