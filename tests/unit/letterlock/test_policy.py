"""The table of treatments: what may leave unencrypted, and that nothing else does."""

from itertools import product

import pytest

from keyservice.client import (
    Answer,
    ArrivedEncrypted,
    MailboxPolicy,
    Outcome,
    Outgoing,
    PeerAnswer,
    PeerOutcome,
    SenderPolicy,
    WithoutCertificate,
)
from keyservice.levels import Level
from letterlock.policy import Disposition, Treatment, treat, treat_peer

EVERY_CASE = list(
    product(
        Outcome,
        WithoutCertificate,
        ArrivedEncrypted,
        (False, True),  # had_certificate
        (False, True),  # can_encrypt
        (False, True),  # encrypted_to_own_subkey
    )
)


def treated(
    outcome: Outcome,
    without: WithoutCertificate = WithoutCertificate.ACCEPT,
    arrived: ArrivedEncrypted = ArrivedEncrypted.HEADER,
    had: bool = False,
    can: bool = True,
    own: bool = False,
) -> Treatment:
    policy = MailboxPolicy(without_certificate=without, arrived_encrypted=arrived)
    answer = Answer(mailbox="a@example.test", outcome=outcome, policy=policy, had_certificate=had)
    return treat(answer, can_encrypt=can, encrypted_to_own_subkey=own)


@pytest.mark.parametrize("case", EVERY_CASE)
def test_plaintext_leaves_for_two_reasons_only(case):
    """Outside of our domains; and by written consent, to a mailbox that never had one."""
    outcome, without, _, had, _, _ = case
    allowed = outcome is Outcome.OUTSIDE or (
        outcome is Outcome.NOT_FOUND and without is WithoutCertificate.ACCEPT and not had
    )

    assert allowed == (treated(*case).disposition is Disposition.PASSED_PLAIN)


@pytest.mark.parametrize("case", EVERY_CASE)
def test_a_body_is_left_alone_only_if_it_is_encrypted_to_the_owner(case):
    """HEADER and PASS need a usable certificate and packets that name its subkey."""
    outcome, _, _, _, can, own = case

    if treated(*case) in (Treatment.HEADER, Treatment.PASS):
        assert (Outcome.FOUND, True, True) == (outcome, can, own)


@pytest.mark.parametrize("without", WithoutCertificate)
def test_a_lost_certificate_never_opens_the_way_for_plaintext(without):
    """Whatever the domain says about newcomers, a mailbox that had a certificate is deferred."""
    assert Treatment.DEFER_WITHDRAWN == treated(Outcome.NOT_FOUND, without, had=True)


@pytest.mark.parametrize(
    ("expected", "without"),
    [
        (Treatment.DEFER_NO_CERTIFICATE, WithoutCertificate.DEFER),
        (Treatment.REJECT_NO_CERTIFICATE, WithoutCertificate.REJECT),
        (Treatment.PLAIN_ACCEPTED, WithoutCertificate.ACCEPT),
    ],
)
def test_newcomers_are_treated_as_the_operator_wrote_down(expected, without):
    """The three choices for a mailbox without a certificate."""
    assert expected == treated(Outcome.NOT_FOUND, without)


@pytest.mark.parametrize(
    ("expected", "arrived"),
    [
        (Treatment.HEADER, ArrivedEncrypted.HEADER),
        (Treatment.WRAP, ArrivedEncrypted.WRAP),
        (Treatment.PASS, ArrivedEncrypted.PASS),
    ],
)
def test_mail_that_arrives_encrypted_is_treated_as_the_policy_says(expected, arrived):
    """Only for mail that is encrypted to the owner's own subkey; all else is wrapped."""
    assert expected == treated(Outcome.FOUND, arrived=arrived, own=True)
    assert Treatment.WRAP == treated(Outcome.FOUND, arrived=arrived, own=False)


def test_an_answer_whose_subkeys_have_all_ended_defers():
    """Between lookup and use a certificate may expire."""
    assert Treatment.DEFER_UNUSABLE == treated(Outcome.FOUND, can=False)


def test_the_default_policy_is_to_defer():
    """An operator who writes nothing down has not consented to plaintext."""
    answer = Answer(mailbox="a@example.test", outcome=Outcome.NOT_FOUND)

    actual = treat(answer, can_encrypt=False, encrypted_to_own_subkey=False)

    assert Treatment.DEFER_NO_CERTIFICATE == actual


@pytest.mark.parametrize("treatment", Treatment)
def test_exactly_the_refusals_have_a_reply(treatment):
    """Deferred means 4yz, rejected 5yz, and everything else is no refusal."""
    expected = {Disposition.DEFERRED: 4, Disposition.REJECTED: 5}.get(treatment.disposition)
    reply = treatment.refusal

    assert expected == (reply and reply.code // 100)
    assert reply is None or reply.enhanced.startswith(f"{expected}.")


EVERY_PEER = list(
    product(
        Outgoing,
        (None, *PeerOutcome),
        (None, *Level),
        (False, True),  # can_encrypt
        (False, True),  # arrived_encrypted
    )
)


def treated_peer(
    outgoing: Outgoing, outcome: PeerOutcome | None, level: Level | None, can: bool, arrived: bool
) -> Treatment:
    peer = None if outcome is None else PeerAnswer(mailbox="p@x.org", outcome=outcome, level=level)
    policy = SenderPolicy(outgoing=outgoing)
    return treat_peer(policy, peer, can_encrypt=can, arrived_encrypted=arrived)


@pytest.mark.parametrize("case", EVERY_PEER)
def test_a_submission_leaves_readable_by_the_sender_s_policy_only(case):
    """`never`; or `when-known` and the key service has said that none is known."""
    outgoing, outcome, level, can, arrived = case
    is_known = outcome is PeerOutcome.FOUND and can and (level or 0) >= Level.PROVIDER_TRUST
    is_told = outcome not in (None, PeerOutcome.UNREACHABLE)
    allowed = not arrived and (
        outgoing is Outgoing.NEVER or (outgoing is Outgoing.WHEN_KNOWN and is_told and not is_known)
    )

    assert allowed == (treated_peer(*case).disposition is Disposition.PASSED_PLAIN)


@pytest.mark.parametrize("case", EVERY_PEER)
def test_a_submission_is_encrypted_to_whom_it_can_be(case):
    """A certificate that is good enough is used, unless the sender's client was first."""
    outgoing, outcome, level, can, arrived = case
    is_known = outcome is PeerOutcome.FOUND and can and (level or 0) >= Level.PROVIDER_TRUST
    expected = is_known and not arrived and outgoing is not Outgoing.NEVER

    assert expected == (treated_peer(*case) is Treatment.ENCRYPT_PEER)


@pytest.mark.parametrize("outgoing", Outgoing)
def test_what_the_sender_s_client_encrypted_passes(outgoing):
    """Whatever is known of the recipient."""
    assert Treatment.PASS_SUBMITTED is treated_peer(outgoing, None, None, False, True)
