"""What a milter is told about a mailbox that sends."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from certificates import gallery, revoked, sequoia
from keyservice import schema
from keyservice.autocrypt import PreferEncrypt
from keyservice.ledger import mailbox_id_of
from keyservice.levels import Level
from keyservice.mailbox import Mailbox
from keyservice.operator_wire import PolicySource
from keyservice.packets import fingerprint, split
from keyservice.replacement import DAY
from keyservice.sender_wire import SENDER_HELD_MAX, Outgoing, SenderPolicy
from peer_world import ALICE, PeerWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PeerWorld]:
    """Alice is one of ours."""
    world = PeerWorld(tmp_path / "k.sqlite", domains=("example.org",), methods=[])
    yield world
    world.close()


def test_who_is_not_ours_sends_nothing(world: PeerWorld) -> None:
    """Whatever else is known of him."""
    sender = world.senders.sender(Mailbox.parse("Bob@Example.net"))

    assert ("bob@example.net", False) == (sender.mailbox, sender.is_ours)
    assert (None, (), None, ()) == (
        sender.fingerprint,
        sender.subkeys,
        sender.keydata,
        sender.issuers,
    )


def test_who_has_no_certificate_may_send(world: PeerWorld) -> None:
    """With the default policy, and without a field."""
    sender = world.senders.sender(ALICE)

    assert (True, SenderPolicy()) == (sender.is_ours, sender.policy)
    assert (None, None, int(world.now())) == (sender.fingerprint, sender.keydata, sender.issued_at)


def test_the_certificate_in_use_is_what_answers_say(world: PeerWorld) -> None:
    """The same subkeys, and the same certificate made small."""
    enrolled = world.enrol(gallery()["alice"], ALICE)
    world.pass_time(1)
    sender, answer = world.senders.sender(ALICE), world.answers.answer(ALICE)

    assert enrolled.fingerprint == sender.fingerprint == answer.fingerprint
    assert sender.subkeys == answer.subkeys
    assert sender.keydata is not None
    assert enrolled.fingerprint == fingerprint(split(sender.keydata)[0])


def test_what_cannot_be_used_is_not_told(world: PeerWorld) -> None:
    """Revoked, withdrawn, waiting: neither to encrypt to, nor to send along."""
    made = sequoia("Alice <alice@example.org>")
    world.enrol(made.certificate, ALICE)
    world.pass_time(60)
    world.enrol(gallery()["gnupg"], ALICE)
    assert fingerprint(split(made.certificate)[0]) == world.senders.sender(ALICE).fingerprint
    world.enrolments.withdraw(ALICE)
    gone = world.senders.sender(ALICE)
    world.pass_time(60)
    world.enrol(made.certificate, ALICE)
    world.intake.update(ALICE, revoked(made))
    ended = world.senders.sender(ALICE)

    for sender in (gone, ended):
        assert (None, (), None) == (sender.fingerprint, sender.subkeys, sender.keydata)


def test_time_alone_ends_it(world: PeerWorld) -> None:
    """As it does for mail that comes in."""
    world.pass_time(5)
    world.enrol(gallery()["ending"], ALICE)
    assert world.senders.sender(ALICE).keydata is not None
    world.pass_time(366 * DAY)

    assert (None, None) == (
        world.senders.sender(ALICE).fingerprint,
        world.senders.sender(ALICE).keydata,
    )


def test_a_certificate_that_fits_no_field_is_still_encrypted_to(world: PeerWorld) -> None:
    """Version 6 has a packet more than Autocrypt has room for."""
    world.enrol(gallery()["alice_v6"], ALICE)
    sender = world.senders.sender(ALICE)

    assert sender.subkeys
    assert sender.keydata is None


def test_settings_of_both_kinds_are_shown_and_set_alike(world: PeerWorld) -> None:
    """And a milter knows of those about sending a few seconds later."""
    changed = world.settings.set(
        ALICE, {"outgoing": "required", "outgoing_level": 3, "prefer_encrypt": "mutual"}
    )
    policy, story = world.senders.sender(ALICE).policy, world.explain()
    other = world.settings.set(ALICE, {"header_policy": "hcp_all"})
    back = world.settings.unset(ALICE, "outgoing")

    assert (Outgoing.REQUIRED, Level.PROVIDER_ENDORSEMENT, PreferEncrypt.MUTUAL) == (
        policy.outgoing,
        policy.outgoing_level,
        policy.prefer_encrypt,
    )
    assert story.sender is not None
    assert policy == changed.sender_policy == story.sender.policy
    assert PolicySource.MAILBOX is changed.sources["outgoing_level"]
    assert (PolicySource.DEFAULT, Outgoing.WHEN_KNOWN) == (
        back.sources["outgoing"],
        back.sender_policy.outgoing,
    )
    assert (SENDER_HELD_MAX, 0, SENDER_HELD_MAX) == (
        changed.effective_within,
        other.effective_within,
        back.effective_within,
    )


def test_who_issued_its_client_certificates_is_told(world: PeerWorld) -> None:
    """Those in force only, and those of this mailbox."""
    now = int(world.now())
    with world.database.writing() as connection:
        for number in (1, 2):
            connection.execute(
                schema.client_ca.insert().values(
                    id=number,
                    name=f"Authority {number}",
                    certificate=b"",
                    not_after=now + DAY,
                    created_at=now,
                )
            )
        owner = mailbox_id_of(connection, ALICE)
        other = mailbox_id_of(connection, Mailbox.parse("bob@example.org"))
        for mark, mailbox_id, authority, revoked_at in (
            ("a", owner, 1, None),
            ("b", owner, 2, now),
            ("c", other, 2, None),
        ):
            connection.execute(
                schema.client_certificate.insert().values(
                    fingerprint=mark * 64,
                    mailbox_id=mailbox_id,
                    ca_id=authority,
                    public_key=mark * 64,
                    certificate=b"",
                    not_before=now,
                    not_after=now + DAY,
                    issued_at=now,
                    revoked_at=revoked_at,
                )
            )

    assert ("Authority 1",) == world.senders.sender(ALICE).issuers
    world.pass_time(2 * DAY)
    assert () == world.senders.sender(ALICE).issuers
