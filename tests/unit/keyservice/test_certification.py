"""Certifications by other programs hold, and nothing else does; two verifiers must agree."""

import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import certifications
from certifications import (
    MAILBOX,
    SEQUOIA_KEYS,
    Hand,
    Pair,
    by_gnupg,
    by_sequoia,
    by_sq,
    by_subkey,
    certificate,
    subpacket,
    user_id,
)
from keyservice.certification import Opinion, certification_opinion
from keyservice.certification_pgpy import second_opinion
from keyservice.mailbox import Mailbox
from keyservice.packets import SIGNATURE, USER_ID, Component, Packet
from keyservice.revocation import Revocation, Strength
from keyservice.signature import read
from keyservice.transition import Finding, Objection, Predecessor, Transition, Verdict, transition
from keyservice.transition import combine as combined

NOW = 1_800_000_000
YEAR = 365 * 86_400
BORN = NOW - 5 * YEAR
MADE = NOW - YEAR


def judged(made: Pair, mailbox: Mailbox = MAILBOX) -> Transition:
    """Return what is made of a pair now."""
    return transition(
        Predecessor(made.old[0].packet), made.new, mailbox, time.time(), second_opinion
    )


def certifications_in(made: Pair) -> list[tuple[Packet, Packet, Packet, Packet]]:
    """Return the question for each signature on a user ID of the new certificate."""
    return [
        (made.old[0].packet, made.new[0].packet, component.packet, signature)
        for component in made.new
        if component.packet.tag == USER_ID
        for signature in component.signatures
    ]


@pytest.mark.parametrize(
    "name",
    ["ed25519", "rsa2048", "nistp256", "nistp384", "nistp521", "positive", "with_end"],
)
def test_what_gnupg_certified_is_a_transition(name: str) -> None:
    """For every algorithm that it signs with and our vetting lets pass."""
    assert Verdict.VERIFIED is judged(by_gnupg()[name]).verdict


def test_what_sq_certified_is_a_transition() -> None:
    """Sequoia's program."""
    assert Verdict.VERIFIED is judged(by_sq()).verdict


@pytest.mark.parametrize("new", ["v4-ed25519", "v6-ed25519"])
@pytest.mark.parametrize("old", list(SEQUOIA_KEYS))
def test_what_sequoia_certified_is_a_transition(old: str, new: str) -> None:
    """Versions 4 and 6, each certifying each; Ed25519, Ed448, ECDSA, RSA."""
    assert Verdict.VERIFIED is judged(by_sequoia(old, new)).verdict


@pytest.mark.parametrize("hash_id", [8, 10, 12, 14])
def test_every_strong_hash_function_is_known(hash_id: int) -> None:
    """SHA-2 and SHA-3."""
    assert Verdict.VERIFIED is by_hand(hash_id=hash_id).verdict


@pytest.mark.parametrize("kind", [0x10, 0x11, 0x12, 0x13])
def test_every_type_of_certification_counts(kind: int) -> None:
    """However carefully its maker says that he checked."""
    assert Verdict.VERIFIED is by_hand(kind=kind).verdict


@pytest.mark.parametrize(
    ("name", "objection"),
    [
        ("sha1", Objection.WEAK_HASH),
        ("local", Objection.LOCAL),
        ("taken_back", Objection.TAKEN_BACK),
    ],
)
def test_what_gnupg_did_not_mean_is_none(name: str, objection: Objection) -> None:
    """A broken hash function, a signature for its maker only, a revoked one."""
    found = judged(by_gnupg()[name])

    assert Verdict.NOT is found.verdict
    assert [objection] == [finding.objection for finding in found.findings]


def test_only_the_mailbox_that_is_named_counts() -> None:
    """Not another one, and none out of a user ID that names two."""
    assert Verdict.NOT is judged(by_sq(), Mailbox.parse("bob@example.org")).verdict
    assert Verdict.NOT is by_hand(name=user_id("<alice@example.org> <bob@example.org>")).verdict


def test_a_certification_does_not_move_to_another_user_id() -> None:
    """Nor to another certificate: both are hashed."""
    first, second = by_sequoia("v4-ed25519", "v4-ed25519"), by_gnupg()["ed25519"]
    question = certifications_in(first)[-1]
    assert Opinion.HOLDS is certification_opinion(*question)
    old, new, _, signature = question

    assert Opinion.FAILS is certification_opinion(old, new, user_id(), signature)
    assert Opinion.FAILS is certification_opinion(old, second.new[0].packet, question[2], signature)


def test_a_subkey_cannot_hand_a_mailbox_over() -> None:
    """Only the primary key certifies; a subkey may be on a machine that is less well kept."""
    assert Transition(Verdict.NOT) == judged(by_subkey())


def test_a_subkey_that_poses_as_its_primary_key_fails() -> None:
    """What the signature names as its issuer is only a hint."""
    hand, other = Hand(BORN), Hand(BORN)
    posing = hand.certify(hand.primary, user_id(), MADE)
    real = bytes.fromhex(hand.fingerprint)
    renamed = Packet(SIGNATURE, posing.body.replace(real, bytes.fromhex(other.fingerprint)))
    new = certificate(hand.primary, user_id(), renamed)

    found = transition(Predecessor(other.primary), new, MAILBOX, NOW, second_opinion)

    assert [Finding(Verdict.NOT, Objection.DOES_NOT_HOLD, MADE)] == list(found.findings)


@pytest.mark.parametrize("name", ["ed25519", "rsa2048", "nistp256"])
def test_no_octet_of_a_certification_can_be_changed(name: str) -> None:
    """Wherever it is flipped; the unhashed area and the issuer are the exceptions."""
    old, new, name_packet, signature = next(
        q for q in certifications_in(by_gnupg()[name]) if Opinion.HOLDS is certification_opinion(*q)
    )
    body = signature.body
    hashed_end = 6 + int.from_bytes(body[4:6], "big")
    start = hashed_end + 2 + int.from_bytes(body[hashed_end : hashed_end + 2], "big")
    for at in (*range(hashed_end), *range(start, len(body))):
        broken = Packet(SIGNATURE, body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :])

        assert Opinion.HOLDS is not certification_opinion(old, new, name_packet, broken), at


def test_a_signature_that_is_cut_short_never_holds() -> None:
    """At whatever octet; and nothing is raised."""
    for name in ("v4-ed25519", "v6-ed448", "v6-p256"):
        old, new, name_packet, signature = certifications_in(by_sequoia(name, "v4-ed25519"))[-1]
        for end in range(len(signature.body)):
            cut = Packet(SIGNATURE, signature.body[:end])

            assert Opinion.HOLDS is not certification_opinion(old, new, name_packet, cut)


def own_opinion(hand: Hand, *more: bytes, made_at: int | None = MADE, hash_id: int = 8) -> Opinion:
    """Return what is said of a signature by this hand, with these subpackets."""
    signature = hand.certify(hand.primary, user_id(), made_at, *more, hash_id=hash_id)
    return certification_opinion(hand.primary, hand.primary, user_id(), signature)


@pytest.mark.parametrize(
    ("algorithm", "versions", "least"),
    [(19, (4, 4), 10), (19, (6, 6), 10), (27, (4, 4), 8), (27, (6, 6), 8), (28, (6, 6), 10)],
)
def test_a_digest_shorter_than_the_curve_is_refused(
    algorithm: int, versions: tuple[int, int], least: int
) -> None:
    """RFC 9580 §5.2.3.2, §5.2.3.5: it would be the weakest part."""
    hand = Hand(BORN, algorithm, versions)

    assert Opinion.HOLDS is own_opinion(hand, hash_id=least)
    assert (Opinion.HOLDS if least == 8 else Opinion.FAILS) is own_opinion(hand, hash_id=8)


def test_a_signature_has_the_version_of_its_key() -> None:
    """And a version 6 one the salt of its hash function (RFC 9580 §9.5)."""
    salted = Hand(BORN, 27, (6, 6))
    assert Opinion.HOLDS is own_opinion(salted)
    salted.salt_octets = 8

    assert Opinion.FAILS is own_opinion(salted)
    assert Opinion.HOLDS is not own_opinion(Hand(BORN, 27, (4, 6)))
    assert Opinion.HOLDS is not own_opinion(Hand(BORN, 27, (6, 4)))


def test_leading_zeros_of_a_number_come_back() -> None:
    """One signature in 128 has a half that starts with an octet of zeros."""
    hand = Hand(BORN)
    short = [
        signature
        for made_at in range(MADE, MADE + 1500)
        if len((signature := hand.certify(hand.primary, user_id(), made_at)).body) < 107
    ]

    assert short
    for signature in short:
        question = (hand.primary, hand.primary, user_id(), signature)
        assert (Opinion.HOLDS, Opinion.HOLDS) == (
            certification_opinion(*question),
            second_opinion(*question),
        )


def test_the_last_of_two_times_counts() -> None:
    """RFC 9580 §5.2.3.9."""
    early = subpacket(2, (BORN - 1).to_bytes(4, "big"))

    assert Verdict.VERIFIED is by_hand(MADE, early).verdict


def test_a_fingerprint_is_worth_more_than_a_key_id() -> None:
    """A key ID that is right beside a fingerprint that is not names somebody else."""
    hand, other = Hand(BORN), Hand(BORN)
    key_id = subpacket(16, bytes.fromhex(other.fingerprint)[-8:])
    signature = read(hand.certify(hand.primary, user_id(), MADE, unhashed=key_id))
    bare = signature._replace(hashed=())

    assert (True, False) == tuple(
        map(signature.claims_issuer, (hand.fingerprint, other.fingerprint))
    )
    assert (False, True) == tuple(map(bare.claims_issuer, (hand.fingerprint, other.fingerprint)))


@given(st.binary(max_size=120), st.binary(min_size=1, max_size=80))
@settings(max_examples=150)
def test_any_octets_get_an_opinion(signature: bytes, key: bytes) -> None:
    """From both verifiers, whatever they are given; none ever holds."""
    question = (Packet(6, key), Packet(6, key), user_id(), Packet(SIGNATURE, signature))

    assert Opinion.HOLDS is not certification_opinion(*question)
    assert Opinion.HOLDS is not second_opinion(*question)


def by_hand(
    made_at: int | None = MADE,
    *more: bytes,
    kind: int = 0x10,
    hash_id: int = 8,
    born: int = BORN,
    not_after: int | None = None,
    revocation: Revocation | None = None,
    name: Packet | None = None,
) -> Transition:
    """Return what is made of a certification that says all this."""
    old, new, name = Hand(born), Hand(BORN), name or user_id()
    signature = old.certify(new.primary, name, made_at, *more, kind=kind, hash_id=hash_id)
    predecessor = Predecessor(old.primary, not_after, revocation)
    chain = certificate(new.primary, name, signature)
    return transition(predecessor, chain, MAILBOX, NOW, second_opinion)


@pytest.mark.parametrize(
    ("found", "objection"),
    [
        (by_hand(None), Objection.NO_CREATION_TIME),
        (by_hand(BORN - 1), Objection.BEFORE_KEY),
        (by_hand(MADE, not_after=MADE), Objection.AFTER_KEY),
        (by_hand(MADE, revocation=Revocation(Strength.SOFT, MADE)), Objection.AFTER_KEY),
        (by_hand(MADE, revocation=Revocation(Strength.HARD, NOW)), Objection.KEY_REVOKED),
        (by_hand(NOW + 1), Objection.IN_THE_FUTURE),
        (by_hand(MADE, subpacket(3, YEAR.to_bytes(4, "big"))), Objection.ENDED),
        (by_hand(MADE, subpacket(4, b"\0")), Objection.LOCAL),
        (by_hand(MADE, subpacket(100, b"x", critical=True)), Objection.CRITICAL),
        (by_hand(MADE, subpacket(6, b"x\0", critical=True)), Objection.CRITICAL),
        (by_hand(MADE, hash_id=2), Objection.WEAK_HASH),
    ],
    ids=lambda value: value.name if isinstance(value, Objection) else "",
)
def test_a_certification_that_holds_may_still_not_count(
    found: Transition, objection: Objection
) -> None:
    """Each for its reason, with the time that it claims."""
    assert Verdict.NOT is found.verdict
    assert [objection] == [finding.objection for finding in found.findings]


@pytest.mark.parametrize(
    "found",
    [
        by_hand(BORN),
        by_hand(NOW),
        by_hand(MADE, not_after=MADE + 1),
        by_hand(MADE, revocation=Revocation(Strength.SOFT, MADE + 1)),
        by_hand(MADE, subpacket(3, (YEAR + 1).to_bytes(4, "big"))),
        by_hand(MADE, subpacket(3, bytes(4))),
        by_hand(MADE, subpacket(4, b"\1")),
        by_hand(MADE, subpacket(100, b"x")),
    ],
)
def test_one_second_or_bit_more_and_it_counts(found: Transition) -> None:
    """The other side of each limit; an old key that has ended since is no objection."""
    assert Verdict.VERIFIED is found.verdict


def test_other_kinds_of_signatures_are_not_certifications() -> None:
    """A document signature over the very same octets, for one."""
    for kind in (0x00, 0x18, 0x1F, 0x20, 0x30):
        assert Transition(Verdict.NOT) == by_hand(kind=kind)


def test_a_newer_certification_outlives_a_revocation() -> None:
    """Taken back and given again (RFC 9580 §5.2.1.13); in the same second it is taken back."""
    old, new = Hand(BORN), Hand(BORN)
    for made_at, verdict in ((MADE, Verdict.NOT), (MADE + 1, Verdict.VERIFIED)):
        made = old.certify(new.primary, user_id(), made_at)
        taken_back = old.certify(new.primary, user_id(), MADE, kind=0x30)
        chain = certificate(new.primary, user_id(), made, taken_back)

        assert (
            verdict
            is transition(Predecessor(old.primary), chain, MAILBOX, NOW, second_opinion).verdict
        )


def test_a_revocation_counts_even_with_sha1_and_without_a_time() -> None:
    """What takes something away is believed on less."""
    old, new = Hand(BORN), Hand(BORN)
    made = old.certify(new.primary, user_id(), MADE)
    for taken_back in (
        old.certify(new.primary, user_id(), NOW, kind=0x30, hash_id=2),
        old.certify(new.primary, user_id(), None, kind=0x30),
    ):
        chain = certificate(new.primary, user_id(), made, taken_back)

        assert (
            Verdict.NOT
            is transition(Predecessor(old.primary), chain, MAILBOX, NOW, second_opinion).verdict
        )


def test_strangers_cannot_take_a_certification_back() -> None:
    """A revocation by somebody else that names the old key as its issuer."""
    old, new, stranger = Hand(BORN), Hand(BORN), Hand(BORN)
    made = old.certify(new.primary, user_id(), MADE)
    false = stranger.certify(new.primary, user_id(), NOW, kind=0x30)
    forged = Packet(
        SIGNATURE,
        false.body.replace(bytes.fromhex(stranger.fingerprint), bytes.fromhex(old.fingerprint)),
    )
    chain = certificate(new.primary, user_id(), made, forged)

    assert (
        Verdict.VERIFIED
        is transition(Predecessor(old.primary), chain, MAILBOX, NOW, second_opinion).verdict
    )


def test_rubbish_beside_a_certification_does_not_hide_it() -> None:
    """Anybody can add signatures to a certificate; one that holds is enough."""
    made = by_gnupg()["ed25519"]
    rubbish = (
        Packet(SIGNATURE, b""),
        Packet(SIGNATURE, b"\x03junk"),
        Packet(SIGNATURE, b"\x04" * 9),
    )
    new = tuple(Component(c.packet, (*rubbish, *c.signatures, *rubbish)) for c in made.new)

    assert Verdict.VERIFIED is judged(Pair(made.old, new)).verdict


def test_a_short_rsa_key_certifies_nothing() -> None:
    """Vetting refuses such certificates today; it may have been vetted under other rules."""
    primary = Packet(
        6, b"\x04" + BORN.to_bytes(4, "big") + b"\x01" + b"\x04\0" + b"\xff" * 128 + b"\0\x11\1\0\1"
    )
    new = Hand(BORN)
    made = new.certify(new.primary, user_id(), MADE)
    renamed = made.body.replace(
        bytes.fromhex(new.fingerprint), bytes.fromhex(certifications.fingerprint(primary))
    )
    chain = certificate(new.primary, user_id(), Packet(SIGNATURE, renamed))

    found = transition(Predecessor(primary), chain, MAILBOX, NOW, second_opinion)

    assert [Objection.WEAK_KEY] == [finding.objection for finding in found.findings]


@pytest.mark.parametrize(
    ("own", "second", "verdict"),
    [
        (Opinion.HOLDS, Opinion.HOLDS, Verdict.VERIFIED),
        (Opinion.HOLDS, Opinion.SILENT, Verdict.VERIFIED),
        (Opinion.HOLDS, Opinion.FAILS, Verdict.UNDECIDED),
        (Opinion.FAILS, Opinion.HOLDS, Verdict.UNDECIDED),
        (Opinion.FAILS, Opinion.FAILS, Verdict.NOT),
        (Opinion.FAILS, Opinion.SILENT, Verdict.NOT),
        (Opinion.SILENT, Opinion.HOLDS, Verdict.NOT),
        (Opinion.SILENT, Opinion.FAILS, Verdict.NOT),
        (Opinion.SILENT, Opinion.SILENT, Verdict.NOT),
    ],
)
def test_two_verifiers_must_agree(own: Opinion, second: Opinion, verdict: Verdict) -> None:
    """Where both can speak; PGPy alone proves nothing."""
    assert verdict is combined(own, second)


def test_a_disagreement_is_no_transition_and_is_recorded() -> None:
    """Whichever of the two is wrong."""
    made = by_gnupg()["ed25519"]
    old = Predecessor(made.old[0].packet)

    found = transition(old, made.new, MAILBOX, time.time(), lambda *_: Opinion.FAILS)

    assert Verdict.UNDECIDED is found.verdict
    assert [Objection.DISAGREEMENT] == [finding.objection for finding in found.findings]


@pytest.mark.parametrize("name", ["ed25519", "rsa2048", "nistp256", "nistp384", "nistp521"])
def test_both_verifiers_speak_where_both_can(name: str) -> None:
    """PGPy's opinion is an opinion: it holds, and of a forged one it says that it fails."""
    question = next(
        q for q in certifications_in(by_gnupg()[name]) if Opinion.HOLDS is certification_opinion(*q)
    )

    assert Opinion.HOLDS is second_opinion(*question)
    assert Opinion.FAILS is second_opinion(
        *question[:2], user_id("Eve <alice@example.org>"), question[3]
    )


@pytest.mark.parametrize("name", ["v6-ed25519", "v6-ed448", "v6-rsa"])
def test_pgpy_is_silent_about_version_6(name: str) -> None:
    """It has never heard of it, and must not fail what it cannot read."""
    for question in certifications_in(by_sequoia(name, "v6-ed25519")):
        assert Opinion.SILENT is second_opinion(*question)


def test_the_verifiers_never_disagree_about_real_certificates() -> None:
    """Self-signatures and certifications of every program, each asked of each key."""
    pairs = [*by_gnupg().values(), by_sq(), by_sequoia("v4-p384", "v4-ed25519"), by_subkey()]
    for made in pairs:
        for question in certifications_in(made):
            own, second = certification_opinion(*question), second_opinion(*question)

            assert Verdict.UNDECIDED is not combined(own, second)


def test_pgpy_keeps_its_warnings_to_itself() -> None:
    """They are about its own dependencies, and nobody's business in a service's log."""
    code = "import keyservice.certification_pgpy as it; print(it.second_opinion.__name__)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, timeout=60, check=False
    )

    assert (0, b"second_opinion\n", b"") == (done.returncode, done.stdout, done.stderr)
