"""A published certificate names one mailbox and no other."""

import base64

from hypothesis import given
from hypothesis import strategies as st

from certificates import gallery
from keyservice.armor import dearmor
from keyservice.mailbox import Mailbox
from keyservice.packets import USER_ID, components, split
from keyservice.public.minimise import armored, narrowed
from keyservice.publishable import publishable

ALICE = Mailbox.parse("Alice@Example.org")


def user_ids(octets: bytes) -> list[bytes]:
    """Return the user IDs of a certificate."""
    return [c.packet.body for c in components(split(octets)) if c.packet.tag == USER_ID]


def test_the_user_ids_of_others_go() -> None:
    """Bob's mailbox, in the same certificate, is not for those who ask for Alice."""
    both = publishable(gallery()["two_user_ids"])

    assert [b"Alice <alice@example.org>"] == user_ids(narrowed(both, ALICE))
    assert [] == user_ids(narrowed(both, None))
    assert b"bob" not in narrowed(both, ALICE)


def test_a_user_id_that_names_two_goes() -> None:
    """Clients differ in which of the two they read."""
    assert [] == user_ids(narrowed(publishable(gallery()["several_mailboxes"]), ALICE))


def test_a_bare_address_is_a_user_id() -> None:
    """As some clients make them."""
    bare = publishable(gallery()["bare_address"])

    assert [b"alice@example.org"] == user_ids(narrowed(bare, ALICE))


@given(st.lists(st.binary(min_size=1, max_size=400).map(lambda o: b"\x99" + o), min_size=1))
def test_armor_can_be_taken_off(certificates: list[bytes]) -> None:
    """By our own reader, whatever the length; lines are no longer than RFC 9580 §6.2 allows."""
    text = armored(certificates)

    assert b"".join(certificates) == dearmor(text)
    assert max(map(len, text.splitlines())) <= 76


def test_armor_is_plain_base64() -> None:
    """No checksum line, no headers."""
    lines = armored([b"\x99abc"]).splitlines()

    assert base64.b64encode(b"\x99abc") == lines[2]
    assert 4 == len(lines)
