"""The doctor's proof that a resolver validates, against a real Unbound."""

from collections.abc import Iterator

import pytest

from letterlock.doctor.dnssec import prove
from letterlock.doctor.keyservice_file import Discovery
from letterlock.doctor.surroundings import Proof
from ports import free_port
from unbound import Signing, Unbound

ZONES = {
    "signed.org": (Signing.RIGHT, ""),
    "bogus.org": (Signing.WRONG, ""),
    "plain.org": (Signing.NOT, ""),
}


@pytest.fixture(scope="module")
def validating(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Unbound]:
    """One that does."""
    with Unbound(tmp_path_factory.mktemp("unbound"), ZONES) as running:
        yield running


@pytest.fixture(scope="module")
def believing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Unbound]:
    """One that does not."""
    with Unbound(tmp_path_factory.mktemp("unbound"), ZONES, validating=False) as running:
        yield running


def discovery(port: int, signed: str = "signed.org.", bogus: str = "bogus.org.") -> Discovery:
    """Settings of the key service."""
    resolver = f"127.0.0.1:{port}"
    return Discovery(resolver=resolver, signed_name=signed, bogus_name=bogus)


@pytest.mark.parametrize(
    ("expected", "signed", "bogus"),
    [
        (Proof.VALIDATES, "signed.org.", "bogus.org."),
        (Proof.NO_DNSSEC, "plain.org.", "bogus.org."),
        (Proof.BELIEVES_ANYTHING, "signed.org.", "plain.org."),
        (Proof.SILENT, "bogus.org.", "bogus.org."),
    ],
)
def test_zones(validating: Unbound, expected: Proof, signed: str, bogus: str) -> None:
    """A zone in order must be vouched for, one with wrong signatures refused."""
    assert expected is prove(discovery(validating.port, signed, bogus))


def test_a_resolver_that_does_not_validate(believing: Unbound) -> None:
    """It gives answers, and vouches for none."""
    assert Proof.NO_DNSSEC is prove(discovery(believing.port))


def test_no_resolver() -> None:
    """Nothing listens there, and it does not take long to tell."""
    assert Proof.SILENT is prove(discovery(free_port()))
