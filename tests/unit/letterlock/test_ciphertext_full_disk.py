"""A spill file on a disk that is full."""

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from letterlock.ciphertext import Ciphertext, Spill
from letterlock.errors import SpillFailed
from letterlock.openpgp import SEIPDVersion

THRESHOLD = 65_536
PLAINTEXT = bytes(100_000)


@pytest.fixture
def room(tmp_path: Path) -> Iterator[int]:
    """Limit files of this process to a few octets less than the ciphertext takes."""
    ciphertext = Ciphertext(SEIPDVersion.V1, Spill(str(tmp_path), THRESHOLD))
    ciphertext.write(PLAINTEXT)
    ciphertext.close()
    octets = sum(len(piece) for piece in ciphertext.armored_for([])) * 3 // 4
    ciphertext.discard()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Armor adds line ends, so this is an upper bound: step down from it.
    yield octets
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_full_at_any_octet_is_a_failed_spill(tmp_path: Path, room: int) -> None:
    """Also where it shows only when the last buffered octets are written, or never wanted."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    outcomes = set()
    for limit in range(room, THRESHOLD, -997):
        ciphertext = Ciphertext(SEIPDVersion.V1, Spill(str(tmp_path), THRESHOLD))
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            ciphertext.write(PLAINTEXT)
            ciphertext.close()
            assert b"".join(ciphertext.armored_for([]))
            outcomes.add("fits")
        except SpillFailed:
            outcomes.add("failed")
        ciphertext.discard()
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))

    assert {"fits", "failed"} == outcomes
