"""What is answered about a mailbox, from what is stored about it."""

import msgspec
import pytest

from keyservice.certificate import Certificate, Refusal, RefusalReason
from keyservice.decide import NEGATIVE_LIFETIME, Standing, decide
from keyservice.mailbox import Mailbox
from keyservice.record import LIFETIME_MAX
from keyservice.wire import EncryptionSubkey, MailboxPolicy, Outcome, WithoutCertificate

ALICE = Mailbox.parse("alice@example.org")
NOW = 1_800_000_000
POLICY = MailboxPolicy(without_certificate=WithoutCertificate.ACCEPT)
EARLY = EncryptionSubkey("ab" * 20, b"early", NOW + 100)
LATE = EncryptionSubkey("cd" * 20, b"late", None)
CERTIFICATE = Certificate("ef" * 20, 4, ("alice@example.org",), subkeys=(EARLY, LATE))


def test_a_domain_that_is_not_ours_is_outside() -> None:
    """Nothing is known about it, and nothing is had."""
    answer = decide(ALICE, None, NOW)

    assert Outcome.OUTSIDE is answer.outcome
    assert answer.had_certificate is False


@pytest.mark.parametrize("had", [True, False])
def test_without_a_certificate_the_past_is_told(had: bool) -> None:
    """A withdrawn certificate is not found, but not forgotten."""
    answer = decide(ALICE, Standing(POLICY, had), NOW)

    assert (Outcome.NOT_FOUND, had, POLICY) == (
        answer.outcome,
        answer.had_certificate,
        answer.policy,
    )
    assert NOW + NEGATIVE_LIFETIME == answer.expires_at


def test_found_lists_living_subkeys_and_ends_before_the_first_of_them() -> None:
    """So that nobody encrypts to a dead one out of a cache."""
    now = decide(ALICE, Standing(POLICY, True, CERTIFICATE), NOW)
    later = decide(ALICE, Standing(POLICY, True, CERTIFICATE), NOW + 100)

    assert ((EARLY, LATE), NOW + 100) == (now.subkeys, now.expires_at)
    assert ((LATE,), NOW + 100 + LIFETIME_MAX) == (later.subkeys, later.expires_at)


@pytest.mark.parametrize(
    "changes",
    [
        {"refusal": Refusal(RefusalReason.REVOKED, "its owner has revoked it")},
        {"not_after": NOW},
        {"subkeys": (msgspec.structs.replace(EARLY, not_after=NOW),)},
        {"user_ids": ("bob@example.org",)},
        {"subkeys": ()},
    ],
)
def test_a_certificate_that_must_not_be_used_is_rejected(changes: dict[str, object]) -> None:
    """Never found, never just absent: had_certificate forbids plaintext."""
    certificate = msgspec.structs.replace(CERTIFICATE, **changes)

    answer = decide(ALICE, Standing(POLICY, True, certificate), NOW)

    assert (Outcome.REJECTED, True, ()) == (
        answer.outcome,
        answer.had_certificate,
        answer.subkeys,
    )
    assert answer.reason
