"""Every kind of bad certificate is refused for its reason, and the good ones are used."""

import time
from datetime import UTC, datetime

import pysequoia
import pytest
from pysequoia.packet import Tag

from certificates import ALICE, gallery, packet_groups, packet_tags
from keyservice.certificate import Certificate, RefusalReason, RejectedCertificate, require_usable
from keyservice.mailbox import Mailbox
from keyservice.vet import vet

MAILBOX = Mailbox.parse("alice@example.org")
YEAR = 365 * 86_400


def facts(name: str) -> Certificate:
    """Return what vetting finds in a certificate of the gallery."""
    return vet(gallery()[name], time.time())[0]


@pytest.mark.parametrize(
    "name",
    [
        "gnupg",
        "nist_p256",
        "rsa2048",
        "alice",
        "alice_v6",
        "alice_armored",
        "bare_address",
        "two_user_ids",
        "revoked_by_bob",
        "foreign_subkey",
        "ending",
    ],
)
def test_good_certificates_are_used(name: str) -> None:
    """Each with exactly one encryption subkey: what was grafted on to it does not count."""
    found = facts(name)

    require_usable(found, MAILBOX, time.time())
    assert 1 == len(found.subkeys)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("expired", RefusalReason.EXPIRED),
        ("expired_subkey", RefusalReason.EXPIRED),
        ("revoked", RefusalReason.REVOKED),
        ("revoked_subkey", RefusalReason.NO_ENCRYPTION_SUBKEY),
        ("sign_only", RefusalReason.NO_ENCRYPTION_SUBKEY),
        ("unbound_subkey", RefusalReason.NO_ENCRYPTION_SUBKEY),
        ("sha1", RefusalReason.WEAK_HASH),
        ("rsa1024", RefusalReason.WEAK_KEY),
        ("rsa1024_subkey", RefusalReason.WEAK_KEY),
        ("brainpool", RefusalReason.UNSUPPORTED),
        ("brainpool_subkey", RefusalReason.UNSUPPORTED),
        ("bob", RefusalReason.FOREIGN_MAILBOX),
        ("no_user_id", RefusalReason.NO_USER_ID),
        ("several_mailboxes", RefusalReason.SEVERAL_MAILBOXES),
        ("unbound_user_id", RefusalReason.UNBOUND_USER_ID),
        ("foreign_user_id", RefusalReason.UNBOUND_USER_ID),
        ("alice_secret", RefusalReason.SECRET_KEY),
        ("two_certificates", RefusalReason.NOT_ONE_CERTIFICATE),
        ("cut_short", RefusalReason.MALFORMED),
    ],
)
def test_bad_certificates_are_refused_for_their_reason(name: str, reason: RefusalReason) -> None:
    """The operator reads why, not just that."""
    with pytest.raises(RejectedCertificate) as caught:
        require_usable(facts(name), MAILBOX, time.time())

    assert reason is caught.value.refusal.reason


def test_a_subkey_ends_with_itself_or_with_its_primary_key() -> None:
    """Whichever is first."""
    ending, primary_first = facts("ending"), facts("primary_ends_first")

    assert YEAR == pytest.approx(ending.subkeys[0].not_after - time.time(), abs=86_400)
    assert YEAR * 2 == pytest.approx(ending.not_after - time.time(), abs=86_400)
    assert primary_first.not_after == primary_first.subkeys[0].not_after


def test_time_is_judged_anew_at_each_answer() -> None:
    """The same facts are refused one second after their end."""
    found = facts("ending")
    end = found.subkeys[0].not_after
    assert end is not None

    require_usable(found, MAILBOX, end - 1)
    with pytest.raises(RejectedCertificate):
        require_usable(found, MAILBOX, end)


def test_refused_subkeys_are_named() -> None:
    """With their fingerprint and why."""
    (refused,) = facts("revoked_subkey").refused_subkeys

    assert "it was revoked" == refused.reason
    assert 40 == len(refused.fingerprint)


def test_the_packet_is_what_the_writer_encrypts_to() -> None:
    """Body of the Public-Subkey packet, octet for octet."""
    octets = gallery()["gnupg"]

    assert facts("gnupg").subkeys[0].packet in octets


def test_minimising_keeps_what_vetting_needs() -> None:
    """Signing subkeys, foreign signatures and photos go; the verdict stays."""
    for name in ("alice", "alice_v6", "gnupg", "revoked_subkey", "ending", "revoked"):
        before, minimised = vet(gallery()[name], time.time())
        after, again = vet(minimised, time.time())

        assert before == after
        assert minimised == again
    tags = packet_tags(vet(gallery()["alice"], time.time())[1])
    assert [Tag.PublicKey, Tag.UserID, Tag.PublicSubkey] == tags


def test_a_foreign_revocation_is_not_even_kept() -> None:
    """Nobody but the owner can stop a certificate."""
    minimised = vet(gallery()["revoked_by_bob"], time.time())[1]

    assert len(minimised) == len(vet(gallery()["alice"], time.time())[1])


def test_a_shortened_life_counts() -> None:
    """The newest self-signature decides, not the one that comes last."""
    secret = pysequoia.Tsk.generate(ALICE, profile=pysequoia.Profile.RFC4880)
    long_lived = bytes(secret.extract_certificate())
    certifier = secret.certifier()
    soon = time.time() + 60
    shortened = bytes(
        secret.extract_certificate().set_expiration(
            expiration=datetime.fromtimestamp(soon, UTC), certifier=certifier
        )
    )
    both = shortened + b"".join(packet_groups(long_lived)[0][1:])

    for octets in (shortened, both):
        assert soon == pytest.approx(vet(octets, time.time())[0].not_after, abs=2)
