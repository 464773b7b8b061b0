"""Fixtures of more than one ring."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from stack import Owner

# How long an example takes tells of the machine. All else as hypothesis has it here, or in CI.
settings.register_profile(
    "any machine", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

DOMAINS_OF_OWNERS = ("shy.test", "all.test", "wrap.test", "pass.test", "params.test")


def _owner(local_part: str) -> Owner:
    """Return an owner of `local_part` in every domain that the tests serve."""
    owner = Owner(f"{local_part}@example.test")
    for domain in DOMAINS_OF_OWNERS:
        owner.gpg("--quick-add-uid", owner.fingerprint, f"Owner <{local_part}@{domain}>")
    return owner


@pytest.fixture(scope="session")
def alice() -> Iterator[Owner]:
    """An owner with a key in gpg, made once for all tests."""
    with _owner("alice") as owner:
        yield owner


@pytest.fixture(scope="session")
def bob() -> Iterator[Owner]:
    """A second owner."""
    with _owner("bob") as owner:
        yield owner
