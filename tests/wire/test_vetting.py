"""The vetting child is limited, killed and replaced; hostile certificates break nothing."""

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from certificates import ALICE, gallery, sequoia
from keyservice import vetting
from keyservice.certificate import RefusalReason, RejectedCertificate
from keyservice.packets import Packet, framed, require_one_certificate, serialise
from keyservice.vetting import Vetter

CPU_SECONDS = vetting.DEADLINE
"""What a certificate may cost the child: on an idle machine that is what passes on the clock."""


@pytest.fixture
def vetter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Vetter]:
    """A vetter with a child that is ready, and need not be quick on a busy machine."""
    monkeypatch.setattr(vetting, "DEADLINE", 60.0)
    vetter = Vetter()
    vetter.vet(gallery()["alice"])
    yield vetter
    vetter.close()


def child(vetter: Vetter) -> int:
    """Return the child's process ID."""
    living = vetter._child
    assert living is not None
    return living._process.pid


def cpu_seconds(vetter: Vetter) -> float:
    """Return what the child has used so far."""
    stat = Path(f"/proc/{child(vetter)}/stat").read_text()
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def hostile() -> dict[str, bytes]:
    """Return octets that are made to cost."""
    alice = gallery()["alice"]
    bogus = framed(Packet(2, b"\x04\x13\x16\x08" + b"\0\0\0\0\xab\xcd" + b"\0\x01\x01" * 2))
    many_user_ids = b"".join(
        framed(Packet(13, b"x%d <x%d@example.org>" % (n, n))) + bogus for n in range(2000)
    )
    return {
        "ten megabytes": alice + framed(Packet(13, b"x" * 10_000_000)),
        "50,000 signatures": alice + bogus * 50_000,
        "2,000 user IDs": alice + many_user_ids,
        "500 subkeys": alice + (framed(Packet(14, b"\x04" + b"x" * 40)) + bogus) * 500,
        "zeroes": bytes(1_000_000),
        "packets of nothing": b"\xcd\x00" * 60_000,
        "noise": b"\xc6" + random.Random(6).randbytes(60_000),
        "armor without end": b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n" * 3_000,
    }


@pytest.mark.parametrize("name", list(hostile()))
def test_hostile_files_are_refused_before_the_child(name: str) -> None:
    """In a fraction of a second, by counting."""
    octets = hostile()[name]
    started = time.process_time()

    with pytest.raises(RejectedCertificate):
        require_one_certificate(octets)

    assert time.process_time() - started < 0.5


def within_limits() -> dict[str, bytes]:
    """Return the worst that passes the prescan."""
    alice = gallery()["alice"]
    bogus = framed(Packet(2, b"\x04\x13\x16\x08" + b"\0\0\0\0\xab\xcd" + b"\0\x01\x01" * 2))
    big_mpi = b"\x04" + bytes(4) + b"\x01" + b"\xff\xff" + b"\xff" * 8192 + b"\x00\x11\x01\x00\x01"
    names = [f"x{n} <x{n}@example.org>" for n in range(18)]
    return {
        "120 bogus signatures": alice + bogus * 110,
        "19 unbound user IDs": alice
        + b"".join(framed(Packet(13, name.encode())) + bogus * 3 for name in names),
        "65,535-bit RSA subkeys": alice + framed(Packet(14, big_mpi)) * 6,
        "65,535-bit RSA primary": framed(Packet(6, big_mpi)) + framed(Packet(13, ALICE.encode())),
        "20 user IDs": sequoia(ALICE, *names).certificate,
    }


@pytest.mark.parametrize("name", list(within_limits()))
def test_the_worst_that_is_small_costs_little(vetter: Vetter, name: str) -> None:
    """Usable or refused, but within the limits, and the child lives on."""
    octets = serialise(require_one_certificate(within_limits()[name]))
    started = cpu_seconds(vetter)
    before = child(vetter)

    try:
        vetter.vet(octets)
    except RejectedCertificate as rejected:
        assert rejected.refusal.reason is RefusalReason.VETTING_TIMEOUT  # noqa: PT017

    assert before == child(vetter)
    assert cpu_seconds(vetter) - started < CPU_SECONDS
    assert vetter.vet(gallery()["alice"]).certificate is not None
    assert before == child(vetter)


def test_a_child_that_hangs_is_killed_and_replaced(
    vetter: Vetter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request is refused as timed out; the next one is served."""
    monkeypatch.setattr(vetting, "DEADLINE", 0.3)
    hanging = child(vetter)
    os.kill(hanging, 19)

    with pytest.raises(RejectedCertificate) as caught:
        vetter.vet(gallery()["alice"])

    assert RefusalReason.VETTING_TIMEOUT is caught.value.refusal.reason
    assert not Path(f"/proc/{hanging}").exists()
    monkeypatch.setattr(vetting, "DEADLINE", 60.0)
    assert vetter.vet(gallery()["alice"]).certificate is not None


def test_a_child_that_dies_is_replaced(vetter: Vetter) -> None:
    """Whatever killed it."""
    os.kill(child(vetter), 9)

    with pytest.raises(RejectedCertificate) as caught:
        vetter.vet(gallery()["alice"])

    assert RefusalReason.VETTING_FAILED is caught.value.refusal.reason
    assert vetter.vet(gallery()["alice"]).certificate is not None


def test_the_child_is_limited(vetter: Vetter) -> None:
    """Memory, CPU, no files, no cores; and it inherits nothing."""
    limits = {
        line[:26].strip(): line[26:].split()[0]
        for line in Path(f"/proc/{child(vetter)}/limits").read_text().splitlines()
    }
    environment = Path(f"/proc/{child(vetter)}/environ").read_bytes()
    files = {os.readlink(path) for path in Path(f"/proc/{child(vetter)}/fd").iterdir()}

    assert str(256 * 1024 * 1024) == limits["Max address space"]
    assert "0" == limits["Max core file size"]
    assert "0" == limits["Max file size"]
    assert int(limits["Max cpu time"]) < 10
    assert b"RUST_BACKTRACE=0" == environment.rstrip(b"\0")
    assert all(name.startswith("socket:") or name == "/dev/null" for name in files)


def test_the_child_ends_with_its_parent(vetter: Vetter) -> None:
    """No process is left behind."""
    process = child(vetter)
    vetter.close()

    assert not Path(f"/proc/{process}").exists()


def test_vetting_is_fast_enough_to_do_it_daily(vetter: Vetter) -> None:
    """100,000 certificates fit into well under an hour."""
    octets = gallery()["alice"]
    own, childs = time.process_time(), cpu_seconds(vetter)
    for _ in range(200):
        vetter.vet(octets)
    own, childs = time.process_time() - own, cpu_seconds(vetter) - childs

    assert own < 1
    assert (own + childs) / 200 < 0.036
