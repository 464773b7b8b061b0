"""Which mailboxes a user ID names."""

import pytest

from keyservice.certificate import addr_specs


@pytest.mark.parametrize(
    ("user_id", "expected"),
    [
        ("Alice <Alice@Example.org>", ("alice@example.org",)),
        ("alice@example.org", ("alice@example.org",)),
        ("<alice@example.org>", ("alice@example.org",)),
        ("Alice (work) <alice@example.org>", ("alice@example.org",)),
        ('"alice@example.org" <alice@example.org>', ("alice@example.org",)),
        ("Alice <alice@example.org> <bob@example.org>", ("alice@example.org", "bob@example.org")),
        ("bob@example.org <alice@example.org>", ("bob@example.org", "alice@example.org")),
        ("alice@example.org,bob@example.org", ("alice@example.org", "bob@example.org")),
        ("Alice <alice@example.org>x@example.net", ("alice@example.org", "x@example.net")),
        ("Alice", ()),
        ("", ()),
        ("https://example.org/@alice", ()),
    ],
)
def test_every_mailbox_in_a_user_id_is_seen(user_id: str, expected: tuple[str, ...]) -> None:
    """Clients differ in which one they take; so the one with two is never used."""
    assert expected == addr_specs(user_id)
