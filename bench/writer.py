"""The OpenPGP writer alone, beside Sequoia's: from plaintext to armored message.

As the milter does it: body chunks in, ciphertext kept (in a file from 1 MB on), a PKESK in
front, radix-64 out. CPU time of this process, system included; both take turns.
"""

import random
import tempfile
from collections.abc import Callable, Iterator
from functools import partial

import batches
import pysequoia
from report import Findings, Target

from letterlock.ciphertext import Ciphertext, Spill
from letterlock.openpgp import RecipientSubkey
from openpgp_tools import usable_subkeys
from stack import Owner

_SIZES = {"2 KB": 2_048, "10 KB": 10_240, "100 KB": 102_400, "1 MB": 1 << 20, "25 MB": 25 << 20}
_SUBKEYS = ("cv25519", "rsa3072")
_CHUNK_OCTETS = 65_535
"""libmilter's."""

_SPILL_OCTETS = 1 << 20
"""The default of letterlock.toml."""

_CPU_MS_MAX = {"10 KB": 0.15, "1 MB": 5.0}

Encrypt = Callable[[bytes], object]


def measure(*, quick: bool) -> Findings:
    """Return the CPU time for each size and kind of subkey."""
    rounds = 5 if quick else 15
    rows: list[tuple[str | float, ...]] = []
    targets: list[Target] = []
    with tempfile.TemporaryDirectory(prefix="ll-bench-") as directory:
        for kind in _SUBKEYS:
            ours, theirs = _encryptors(kind, directory)
            for size, octets in _SIZES.items():
                body = random.randbytes(octets)
                actions = partial(ours, body), partial(theirs, body)
                mine, other = batches.cpu_ms(actions, rounds)
                rows.append((kind, size, mine, other, other / mine))
                promise = f"{size}, {kind}: speed relative to pysequoia"
                targets.append(Target(promise, other / mine, at_least=1.0))
                if size in _CPU_MS_MAX:
                    promise = f"{size}, {kind}: CPU ms"
                    targets.append(Target(promise, mine, at_most=_CPU_MS_MAX[size]))
    return Findings(
        "writer",
        f"Writer alone, CPU ms per message (median of {rounds})",
        ("subkey", "size", "Letterlock", "pysequoia", "ratio"),
        tuple(rows),
        tuple(targets),
    )


def _encryptors(kind: str, directory: str) -> tuple[Encrypt, Encrypt]:
    with Owner("mailbox@example.test", subkey=kind) as owner:
        certificate = owner.gpg("--export", owner.address)
    subkeys = usable_subkeys(certificate)
    parsed = pysequoia.Cert.from_bytes(certificate)
    spill = Spill(directory, _SPILL_OCTETS)
    return (
        lambda octets: _written(octets, subkeys, spill),
        lambda octets: pysequoia.encrypt(bytes=octets, recipients=[parsed], armor=True),
    )


def _written(octets: bytes, subkeys: list[RecipientSubkey], spill: Spill) -> int:
    ciphertext = Ciphertext(subkeys[0].seipd, spill)
    for chunk in _chunks(octets):
        ciphertext.write(chunk)
    ciphertext.close()
    # Each piece goes to Postfix at once; nobody ever holds all of them.
    size = sum(len(piece) for piece in ciphertext.armored_for(subkeys))
    ciphertext.discard()
    return size


def _chunks(octets: bytes) -> Iterator[bytes]:
    for start in range(0, len(octets), _CHUNK_OCTETS):
        yield octets[start : start + _CHUNK_OCTETS]
