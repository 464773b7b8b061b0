"""A published certificate names one mailbox and no other."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from certificates import gallery
from keyservice.armor import dearmor
from keyservice.mailbox import Mailbox
from keyservice.packets import USER_ID, Packet, components, framed, split
from keyservice.public.minimise import armored, narrowed
from keyservice.publishable import publishable
from openpgp_tools import run

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


@given(st.lists(st.binary(max_size=400), min_size=1))
def test_armor_can_be_taken_off(user_ids: list[bytes]) -> None:
    """By our own reader, whatever the length; lines are no longer than RFC 9580 §6.2 allows."""
    octets = [framed(Packet(USER_ID, user_id)) for user_id in user_ids]
    text = armored(octets)

    assert b"".join(octets) == dearmor(text)
    assert max(map(len, text.splitlines())) <= 76


def test_the_checksum_is_there_for_version_4_only() -> None:
    """RFC 9580 §6.1 forbids it for version 6; gpg 2.2 cannot do without for version 4."""
    for name, expected in (("alice", True), ("alice_v6", False)):
        octets = publishable(gallery()[name])
        assert expected == armored([octets]).splitlines()[-2].startswith(b"=")


def test_the_checksum_is_that_of_others(tmp_path: Path) -> None:
    """gpg writes the same last line before the tail."""
    octets = publishable(gallery()["gnupg"])
    tmp_path.chmod(0o700)
    theirs = run(["gpg", "--homedir", str(tmp_path), "--enarmor"], octets).splitlines()

    assert theirs[-2] == armored([octets]).splitlines()[-2]
