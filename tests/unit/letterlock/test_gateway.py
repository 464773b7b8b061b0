"""The gateway's path with the world replaced: what is asked, and what is refused."""

import base64
import re

import pytest

from gateway_world import ALICE, FINGERPRINT, NOW, PACKET, World, found
from keyservice.client import (
    Answer,
    ArrivedEncrypted,
    EncryptionSubkey,
    Mailbox,
    Outcome,
)
from letterlock.ciphertext import Spill, one_off
from letterlock.envelope import Envelope, ForwardPath
from letterlock.errors import ReentryFailed, SpillFailed
from letterlock.openpgp import RecipientSubkey
from letterlock.policy import Treatment
from letterlock.transaction import Transaction
from letterlock.verdict import Refused


@pytest.fixture
def world(tmp_path):
    world = World(Spill(str(tmp_path), 65_536))
    yield world
    for transaction in world.transactions:
        transaction.discard()


def test_an_alias_is_taken_whole_or_not_at_all(world):
    """One mailbox without a certificate refuses the alias, and leaves nothing of it behind."""
    transaction = Transaction(Envelope(""))

    with pytest.raises(Refused) as refused:
        world.gateway.recipient(transaction, ForwardPath("<mixed@…>", "mixed@example.test"))

    assert Treatment.DEFER_NO_CERTIFICATE is refused.value.treatment
    assert ({}, {}) == (transaction.recipients, transaction.finals)


def test_a_certificate_that_ends_while_the_message_arrives_is_used_for_it_still(world):
    """The recipient was accepted; the message of some seconds ago is no newer than that."""
    world.answers[ALICE.key] = found(ALICE, not_after=NOW + 1)
    transaction = world.begin("alice@example.test")
    world.now = NOW + 2

    verdict = world.gateway.end_of_message(transaction)

    assert [Treatment.WRAP] == [t.treatment for t in verdict.treated]


def test_a_certificate_that_ended_before_the_recipient_is_refused(world):
    """However fresh the answer: its times are compared with the clock."""
    world.answers[ALICE.key] = found(ALICE, not_after=NOW)

    with pytest.raises(Refused) as refused:
        world.begin("alice@example.test")

    assert Treatment.DEFER_UNUSABLE is refused.value.treatment


def test_a_subkey_of_an_algorithm_we_do_not_write_is_no_subkey(world):
    """Vetting may know more algorithms than the writer."""
    unknown = PACKET[:5] + b"\x63" + PACKET[6:]
    answer = found(ALICE)
    world.answers[ALICE.key] = Answer(
        mailbox=answer.mailbox,
        outcome=Outcome.FOUND,
        subkeys=(EncryptionSubkey(FINGERPRINT, unknown),),
    )

    with pytest.raises(Refused):
        world.begin("alice@example.test")


def test_copies_share_one_ciphertext_and_nothing_else(world):
    """Same form and version: encrypted once, with a PKESK of its own for each."""
    transaction, verdict = world.run("team@example.test")
    primary = b"".join(verdict.body)
    ((recipients, copy),) = world.sent

    assert 1 == len(transaction.ciphertexts)
    assert ((("bob@example.test", ()),), ("<team@example.test>",)) == (
        recipients,
        tuple(path.argument for path in verdict.deleted),
    )
    assert _packets(primary)[96:] == _packets(copy)[96:]
    assert _packets(primary)[:96] != _packets(copy)[:96]


def _packets(message: bytes) -> bytes:
    text = re.search(rb"BEGIN PGP MESSAGE-----\s+(.*?)-----END", message, re.DOTALL)[1]
    return base64.b64decode(text)


def test_when_a_copy_fails_nothing_is_accepted_and_the_retry_sends_the_rest(world):
    """451 for all; the copies that had been accepted are not sent again."""
    carol = Mailbox("carol", "example.test")
    world.answers[carol.key] = found(carol)
    everybody = ("alice@example.test", "bob@example.test", "carol@example.test")
    world.fails_at = 1
    with pytest.raises(ReentryFailed):
        world.run(*everybody)
    world.fails_at = None

    transaction, verdict = world.run(*everybody)

    assert ["bob@example.test", "carol@example.test"] == [r[0][0] for r, _ in world.sent]
    world.gateway.accepted(transaction, verdict)
    assert {} == world.store


def test_a_header_section_too_large_for_a_field_is_wrapped_instead(world):
    """Postfix would cut the field that keeps it."""
    world.answers[ALICE.key] = found(ALICE, arrived_encrypted=ArrivedEncrypted.HEADER)
    arrived = _arrived_encrypted()
    content_type = (
        b"Content-Type",
        b' multipart/encrypted; protocol="application/pgp-encrypted"; boundary="b"',
    )

    _, small = world.run("alice@example.test", body=arrived, fields=(content_type,))
    _, large = world.run(
        "alice@example.test",
        body=arrived,
        fields=(content_type, (b"X-Large", b" " + b"x" * 50_000)),
    )

    assert Treatment.HEADER is small.treated[0].treatment
    assert Treatment.WRAP is large.treated[0].treatment


def _arrived_encrypted() -> bytes:
    message = one_off(b"secret", [RecipientSubkey.from_packet(PACKET)], _version())
    armor = base64.b64encode(message)
    return (
        b"--b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n\r\n"
        b"--b\r\nContent-Type: application/octet-stream\r\n\r\n"
        b"-----BEGIN PGP MESSAGE-----\r\n\r\n" + armor + b"\r\n-----END PGP MESSAGE-----\r\n"
        b"--b--\r\n"
    )


def _version():
    return RecipientSubkey.from_packet(PACKET).seipd


def test_a_disk_that_takes_no_more_is_a_temporary_error(world, tmp_path):
    """The message is too large for memory and its ciphertext has nowhere to go."""
    transaction = world.begin("alice@example.test")
    tmp_path.rmdir()

    with pytest.raises(SpillFailed):
        world.gateway.body(transaction, bytes(200_000))


def test_only_ciphertext_is_kept_of_a_message_that_claims_to_be_encrypted(world):
    """Until its end a labelled message may be anything: it is set aside unreadably."""
    content_type = (
        b"Content-Type",
        b' multipart/encrypted; protocol="application/pgp-encrypted"; boundary="b"',
    )
    transaction = world.begin("team@example.test", fields=(content_type,))

    world.gateway.body(transaction, b"canary" * 20_000)

    for kept in (transaction.arrived, *transaction.ciphertexts.values()):
        kept._spool.seek(0)
        assert b"canary" not in kept._spool.read()
    assert b"canary" * 20_000 == b"".join(transaction.arrived.read())
