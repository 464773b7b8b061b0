"""What replaces a stored message: the milter's form, and the stored octets to be had back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import messages
from fake_keyservice import MemoryOwner
from keyservice.client import ArrivedEncrypted, HeaderPolicy
from letterlock.message import split
from letterlock.policy import Treatment
from letterlock.reencryption.encryption import (
    Encrypted,
    Left,
)
from letterlock.reencryption.store import MessageFailed
from stored_mail import NOW, encryption, is_encrypted, original

LF = messages.PLAIN.replace(b"\r\n", b"\n")
PLAIN = {
    "CRLF": messages.PLAIN,
    "LF": LF,
    "LF but for one line": LF.replace(b"\n", b"\r\n", 1),
    "CRLF but for one line": messages.PLAIN[:-2] + b"\n",
    "bare CR": LF + b"a\rb\n",
    "CR at the end": LF + b"\r",
    "NUL": LF + b"a\0b\n",
    "no last line end": LF[:-1],
    "no body": split(LF)[0].octets + b"\n",
    "no blank line": split(LF)[0].octets,
    "unended field": b"Subject: x",
    "no header section": b"\nbody\n",
    "mbox line": b"From bob Fri Nov 20 07:00:00 2026\n" + LF,
    "no message": b"\x00\xff\r\r\n\n",
    "one line": b"word",
    "empty": b"",
    "8 bits": LF + bytes(range(256)),
}
POLICIES = list(HeaderPolicy)
ENCRYPTED_BY_SENDER = (
    b"From: Bob <bob@sender.example>\r\nSubject: canary-subject\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary="b"\r\n'
    b"\r\n--b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n\r\n"
    b"--b\r\nContent-Type: application/octet-stream\r\n\r\n%b\r\n--b--\r\n"
)


@pytest.fixture(scope="module")
def owner() -> MemoryOwner:
    return MemoryOwner("alice@example.test")


@pytest.fixture(scope="module")
def stranger() -> MemoryOwner:
    return MemoryOwner("carol@example.test")


def made(stored: bytes, owner: MemoryOwner, **policy: object) -> Encrypted:
    found = encryption(owner, **policy).encrypt(stored, NOW)
    assert isinstance(found, Encrypted)
    return found


def arrived_encrypted(recipient: MemoryOwner) -> bytes:
    """Return a message that its sender has encrypted to `recipient`."""
    wrapped = made(b"Subject: inner\r\n\r\nx\r\n", recipient).octets
    begin, end = b"-----BEGIN", b"-----END PGP MESSAGE-----"
    return ENCRYPTED_BY_SENDER % wrapped[wrapped.index(begin) : wrapped.index(end) + len(end)]


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.value)
@pytest.mark.parametrize("stored", PLAIN.values(), ids=PLAIN)
def test_the_stored_octets_come_back(stored, policy, owner) -> None:
    """Whatever a file holds, with whichever line ends."""
    found = made(stored, owner, header_policy=policy)

    assert Treatment.WRAP is found.treatment
    assert stored == original(owner, found.octets)


@given(
    head=st.lists(st.sampled_from(messages.NASTY_FIELDS), max_size=4),
    lines=st.lists(st.binary(max_size=20), max_size=5),
    ends=st.lists(st.sampled_from([b"\n", b"\r\n", b"\r"]), min_size=1),
)
def test_any_octets_come_back(head, lines, ends) -> None:
    """Line ends of all kinds in any mixture."""
    owner = _OWNER
    section = b"".join(field + ends[0] for field in head)
    body = b"".join(line + ends[at % len(ends)] for at, line in enumerate(lines))
    stored = section + ends[0] + body

    assert stored == original(owner, made(stored, owner).octets)


_OWNER = MemoryOwner("dora@example.test")


@pytest.mark.parametrize(("stored", "has_crlf"), [(LF, False), (messages.PLAIN, True)])
def test_what_replaces_it_has_the_stores_own_line_ends(stored, has_crlf, owner) -> None:
    """Dovecot and mutt expect LF, unless the store was told otherwise."""
    octets = made(stored, owner).octets

    assert (octets.count(b"\n") if has_crlf else 0) == octets.count(b"\r\n")


def test_what_is_encrypted_has_crlf(owner) -> None:
    """RFC 3156 §4: the canonical form, whatever the store keeps."""
    payload = owner.decrypt(made(LF, owner).octets)

    assert payload.count(b"\n") == payload.count(b"\r\n")


def test_the_milters_form(owner) -> None:
    """Subject hidden, marker outside, two parts, the outer fields that delivery has added."""
    stored = b"Return-Path: <bob@sender.example>\nDelivered-To: alice@example.test\n" + LF
    section, body = split(made(stored, owner).octets)

    assert b"[...]" == section.named(b"subject")[0].unfolded
    assert b"v=1; by=mx.example.test; fpr=" in section.named(b"letterlock")[0].unfolded
    assert section.named(b"return-path")
    assert section.named(b"delivered-to")
    assert b"canary" not in body


def test_hcp_all_shows_the_day_on_which_it_was_stored(owner) -> None:
    """Not the day of the encryption."""
    octets = made(LF, owner, header_policy=HeaderPolicy.HCP_ALL).octets

    (date,) = split(octets)[0].named(b"date")
    assert b"Wed, 18 Nov 2026 00:00:00 +0000" == date.unfolded


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.value)
@pytest.mark.parametrize("arrived", list(ArrivedEncrypted), ids=lambda policy: policy.value)
@pytest.mark.parametrize("of", ["plaintext", "encrypted mail"])
def test_ours_is_never_wrapped_again(owner, policy, arrived, of) -> None:
    """Under whatever policy, and whatever it was made of."""
    chosen = {"header_policy": policy, "arrived_encrypted": ArrivedEncrypted.HEADER}
    stored = LF if of == "plaintext" else arrived_encrypted(owner).replace(b"\r\n", b"\n")
    ours = made(stored, owner, **chosen).octets

    later = encryption(owner, header_policy=policy, arrived_encrypted=arrived)
    assert Left.OURS is later.encrypt(ours, NOW)


def test_ours_for_an_earlier_certificate_is_not_wrapped_again(owner, stranger) -> None:
    """The owner has had that key, and programs show nothing of nested encryption."""
    earlier = made(LF, stranger).octets

    assert Left.OURS is encryption(owner).encrypt(earlier, NOW)


def test_a_label_is_not_believed(owner) -> None:
    """Marker and Content-Type of ours around plaintext: it is encrypted."""
    section, _ = split(made(LF, owner).octets)
    stored = section.octets + b"\ncanary-body\n"
    found = made(stored, owner)

    assert Treatment.WRAP is found.treatment
    assert b"canary-body" not in found.octets
    assert stored == original(owner, found.octets)


@pytest.mark.parametrize("to", ["owner", "stranger"])
@pytest.mark.parametrize("lf", [True, False])
def test_mail_that_arrived_encrypted_gets_its_header_encrypted(to, lf, owner, stranger) -> None:
    """The default. Its body stays, whomever it is encrypted to: mail that the owner has sent."""
    stored = arrived_encrypted(owner if to == "owner" else stranger)
    stored = stored.replace(b"\r\n", b"\n") if lf else stored
    found = made(stored, owner)

    assert Treatment.HEADER is found.treatment
    assert split(stored)[1] == split(found.octets)[1]
    assert stored == original(owner, found.octets)


def test_it_is_wrapped_where_its_line_ends_could_not_be_had_back(owner) -> None:
    """The body outside has none but those of the store."""
    stored = arrived_encrypted(owner).replace(b"\r\n", b"\n", 2)
    found = made(stored, owner)

    assert Treatment.WRAP is found.treatment
    assert stored == original(owner, found.octets)


def test_it_is_left_or_wrapped_if_policy_says_so(owner) -> None:
    """`arrived_encrypted` means what it means to the milter."""
    stored = arrived_encrypted(owner)
    passing = encryption(owner, arrived_encrypted=ArrivedEncrypted.PASS)

    assert Left.PASSED is passing.encrypt(stored, NOW)
    assert Treatment.WRAP is made(stored, owner, arrived_encrypted=ArrivedEncrypted.WRAP).treatment


@pytest.mark.parametrize("magic", [b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\0", b"CRYPTED\x03\x07"])
def test_what_only_dovecot_reads_is_refused(magic, owner) -> None:
    """A compressed file encrypted as if it were a message could be read by nobody."""
    with pytest.raises(MessageFailed):
        encryption(owner).encrypt(magic + b"...", NOW)


def test_a_sender_cannot_have_line_ends_changed(owner) -> None:
    """A field called Letterlock-Stored of his is part of his message, and no more."""
    for name in (b"Letterlock-Stored", b"Letterlock-Stored "):
        for policy in POLICIES:
            stored = name + b": line-ends=lf\r\n" + messages.PLAIN
            found = made(stored, owner, header_policy=policy)

            assert stored == original(owner, found.octets)
            assert is_encrypted(found.octets)
