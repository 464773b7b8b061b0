"""A stored certificate as an Autocrypt field carries it: five packets that hold, or nothing."""

import base64
import subprocess
import tempfile
import time
from collections.abc import Sequence

import pytest

from certificates import gallery, sequoia
from certifications import Hand, subpacket, user_id
from keyservice import autocrypt
from keyservice.certificate import alive_subkeys
from keyservice.keydata import KEYDATA_OCTETS_MAX, keydata
from keyservice.mailbox import Mailbox
from keyservice.packets import (
    PUBLIC_SUBKEY,
    SIGNATURE,
    USER_ID,
    Component,
    Packet,
    fingerprint,
    serialise,
    split,
)
from keyservice.signature import read
from keyservice.vet import vet

ALICE = Mailbox.parse("alice@example.org")
NOW = int(time.time())
DAY = 86_400
BORN = NOW - 400 * DAY

USABLE = (
    "gnupg",
    "nist_p256",
    "rsa2048",
    "ending",
    "primary_ends_first",
    "alice",
    "two_user_ids",
    "bare_address",
    "foreign_subkey",
)

LASTS, ENDED = (subpacket(9, (days * DAY).to_bytes(4, "big")) for days in (401, 10))
"""Key Expiration Time (RFC 9580 §5.2.3.13), after `BORN`."""

TO_SIGN, TO_ENCRYPT = subpacket(27, b"\x02"), subpacket(27, b"\x0c")


def encryption_subkey(octets: bytes) -> Packet:
    """Return the packet of a certificate's subkey."""
    return [packet for packet in split(octets) if packet.tag == PUBLIC_SUBKEY][-1]


SUBKEY = encryption_subkey(gallery()["gnupg"])
OTHER_SUBKEY = encryption_subkey(gallery()["alice"])


def sent(octets: bytes) -> bytes | None:
    """Return the keydata of a certificate as the store would have it."""
    now = time.time()
    facts, minimised = vet(octets, now)
    return keydata(minimised, ALICE, [s.fingerprint for s in alive_subkeys(facts, now)], now)


def made(
    hand: Hand,
    user_ids: Sequence[tuple[Packet, Sequence[Packet]]],
    subkeys: Sequence[tuple[Packet, Sequence[Packet]]],
) -> bytes | None:
    """Return the keydata of a certificate made by hand, all of its subkeys being usable."""
    octets = serialise(
        (
            Component(hand.primary, ()),
            *(Component(packet, tuple(signatures)) for packet, signatures in user_ids),
            *(Component(packet, tuple(signatures)) for packet, signatures in subkeys),
        )
    )
    return keydata(octets, ALICE, [fingerprint(packet) for packet, _ in subkeys], NOW)


def taken(octets: bytes | None) -> list[Packet]:
    """Return the packets of keydata, which must be five."""
    assert octets is not None
    found = split(octets)
    assert [6, 13, 2, 14, 2] == [packet.tag for packet in found]
    return found


@pytest.mark.parametrize("name", USABLE)
def test_what_can_be_used_can_be_sent_along(name: str) -> None:
    """Autocrypt's rules take it, vetting does, and so do gpg and sq."""
    found = sent(gallery()[name])
    assert found is not None
    field = b" addr=alice@example.org; keydata=" + base64.b64encode(found)

    header = autocrypt.sent_by([field], ALICE).header
    assert header is not None
    assert found == header.keydata
    facts, _ = vet(found, NOW)
    assert (None, (ALICE.key,), 1) == (facts.refusal, facts.user_ids, len(facts.subkeys))
    with tempfile.TemporaryDirectory(prefix="ll-gpg-") as home:
        imported = run(
            "gpg", "--homedir", home, "--batch", "--status-fd", "1", "--import", on=found
        )
    assert f"IMPORT_OK 1 {facts.fingerprint.upper()}" in imported
    inspected = run("sq", "inspect", on=found)
    assert facts.subkeys[0].fingerprint.upper() in inspected
    assert "Invalid" not in inspected


def run(*command: str, on: bytes) -> str:
    """Return what a program prints."""
    done = subprocess.run(command, input=on, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


@pytest.mark.parametrize(
    "name", ["alice_v6", "expired_subkey", "sign_only", "unbound_user_id", "revoked_subkey", "bob"]
)
def test_what_cannot_is_not(name: str) -> None:
    """No room for version 6, nothing to encrypt to, no user ID of this mailbox."""
    assert sent(gallery()[name]) is None


def test_other_mailboxes_are_not_told_of() -> None:
    """Whoever gets mail from one address need not learn of the others."""
    octets = gallery()["two_user_ids"]
    found = sent(octets)

    assert found is not None
    assert b"bob@example.org" in octets
    assert b"bob@example.org" not in found


def test_the_newest_signatures_are_taken() -> None:
    """Whatever their order, and a date alone makes none of them count."""
    hand = Hand(BORN)
    names = [hand.certify(hand.primary, user_id(), BORN + day) for day in (1, 3, 2)]
    bindings = [hand.bind(SUBKEY, BORN + day, TO_ENCRYPT) for day in (2, 1)]
    stranger = Hand(BORN)
    forged = [
        stranger.certify(hand.primary, user_id(), NOW - 1),
        Packet(SIGNATURE, names[1].body[:-1] + b"\0"),
    ]
    to_come = hand.certify(hand.primary, user_id(), NOW + DAY)
    ended = hand.certify(
        hand.primary, user_id(), NOW - 2 * DAY, subpacket(3, DAY.to_bytes(4, "big"))
    )
    weak = hand.certify(hand.primary, user_id(), NOW - 2, hash_id=2)

    found = made(hand, [(user_id(), [*forged, to_come, ended, weak, *names])], [(SUBKEY, bindings)])

    assert [names[1], bindings[0]] == [p for p in taken(found) if p.tag == SIGNATURE]


def test_what_the_newest_signature_says_holds() -> None:
    """An end that was set later is not undone by sending the older signature along."""
    hand = Hand(BORN)
    subkey = Packet(SUBKEY.tag, SUBKEY.body[:1] + BORN.to_bytes(4, "big") + SUBKEY.body[5:])
    name, bound = hand.certify(hand.primary, user_id(), BORN), hand.bind(subkey, BORN)

    def is_made(of_user_id: Packet, of_subkey: Packet) -> bool:
        return (
            made(hand, [(user_id(), [name, of_user_id])], [(subkey, [bound, of_subkey])])
            is not None
        )

    assert is_made(name, bound)
    assert is_made(name, hand.bind(subkey, BORN + 1, LASTS))
    assert not is_made(name, hand.bind(subkey, BORN + 1, ENDED))
    assert not is_made(name, hand.bind(subkey, BORN + 1, TO_SIGN))
    assert is_made(hand.certify(hand.primary, user_id(), BORN + 1, LASTS), bound)
    assert not is_made(hand.certify(hand.primary, user_id(), BORN + 1, ENDED), bound)


def test_of_several_the_one_signed_last_is_taken() -> None:
    """Of user IDs that name the mailbox, and of subkeys."""
    hand = Hand(BORN)
    plain, full = user_id("alice@example.org"), user_id()
    names = [
        (plain, [hand.certify(hand.primary, plain, BORN + 5)]),
        (full, [hand.certify(hand.primary, full, BORN)]),
    ]
    subkeys = [
        (SUBKEY, [hand.bind(SUBKEY, BORN)]),
        (OTHER_SUBKEY, [hand.bind(OTHER_SUBKEY, BORN + 1)]),
    ]
    found = taken(made(hand, names, subkeys))

    assert [plain.body, OTHER_SUBKEY.body] == [
        packet.body for packet in found if packet.tag in (USER_ID, PUBLIC_SUBKEY)
    ]


def test_a_user_id_that_was_taken_back_is_not_sent() -> None:
    """Unless it was signed again since; the other one of the mailbox does."""
    hand = Hand(BORN)
    plain, full = user_id("alice@example.org"), user_id()
    gone = hand.certify(hand.primary, full, BORN + 5)
    revocation = hand.certify(hand.primary, full, BORN + 9, kind=0x30)
    again = hand.certify(hand.primary, full, BORN + 10)
    other = (plain, [hand.certify(hand.primary, plain, BORN)])
    subkeys = [(SUBKEY, [hand.bind(SUBKEY, BORN)])]

    def name(*signatures: Packet) -> bytes:
        return taken(made(hand, [(full, signatures), other], subkeys))[1].body

    assert plain.body == name(gone, revocation)
    assert full.body == name(gone, revocation, again)
    assert full.body == name(gone, Hand(BORN).certify(hand.primary, full, BORN + 9, kind=0x30))


def test_nothing_unsigned_goes_along() -> None:
    """Anybody can write into the unhashed part of a signature."""
    hand = Hand(BORN)
    tracker = subpacket(20, b"\x80\0\0\0\0\x01\0\x04xevil")
    issuer = subpacket(16, bytes.fromhex(hand.fingerprint)[-8:])
    signed = hand.certify(hand.primary, user_id(), BORN, unhashed=tracker + issuer)
    found = taken(made(hand, [(user_id(), [signed])], [(SUBKEY, [hand.bind(SUBKEY, BORN)])]))

    assert b"evil" not in b"".join(packet.body for packet in found)
    assert [16] == [each.number for each in read(found[2]).unhashed]
    assert read(signed).signed == read(found[2]).signed


def test_a_field_must_not_become_too_large() -> None:
    """Level 1: nobody may send more than 10 KiB."""
    long = "A" * 6_900 + " <alice@example.org>"
    assert sent(sequoia(long).certificate) is None
    shorter = sent(sequoia(long[500:]).certificate)
    assert shorter is not None
    encoded = base64.b64encode(b"\xff" * KEYDATA_OCTETS_MAX)
    lines = [encoded[at : at + 72] for at in range(0, len(encoded), 72)]
    start = b"Autocrypt: addr=" + b"a" * 320 + b"; prefer-encrypt=nopreference; keydata="
    assert len(start + b"".join(b"\r\n " + line for line in lines)) <= autocrypt.FIELD_OCTETS_MAX
