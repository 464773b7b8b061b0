"""The mailbox's own settings go over its domain's, and all of them are checked."""

import pytest

from keyservice.errors import BadSetting
from keyservice.levels import Level
from keyservice.operator_wire import PolicySource
from keyservice.policy import SETTINGS, parse, resolve
from keyservice.sender_wire import Outgoing, SenderPolicy
from keyservice.wire import HeaderPolicy, MailboxPolicy, WithoutCertificate


def test_the_nearest_setting_wins_and_its_source_is_told() -> None:
    """Mailbox over domain over default."""
    domain = {"without_certificate": "accept", "header_policy": "hcp_shy"}
    (policy, _), sources = resolve(domain, {"header_policy": "hcp_all"})

    assert WithoutCertificate.ACCEPT is policy.without_certificate
    assert HeaderPolicy.HCP_ALL is policy.header_policy
    assert PolicySource.DOMAIN is sources["without_certificate"]
    assert PolicySource.MAILBOX is sources["header_policy"]
    assert PolicySource.DEFAULT is sources["mailer"]


def test_settings_about_mail_from_it_are_of_the_same_kind() -> None:
    """One namespace, and levels are numbers, as everywhere."""
    (_, policy), sources = resolve(
        {"outgoing": "required", "autocrypt": False}, {"outgoing_level": 3}
    )

    assert (Outgoing.REQUIRED, Level.PROVIDER_ENDORSEMENT) == (
        policy.outgoing,
        policy.outgoing_level,
    )
    assert (False, False) == (policy.autocrypt, policy.autocrypt_enrols)
    assert (PolicySource.DOMAIN, PolicySource.MAILBOX, PolicySource.DEFAULT) == (
        sources["outgoing"],
        sources["outgoing_level"],
        sources["copy_to_self"],
    )


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"outgoing": "always"}, "outgoing: expected never or when-known or required"),
        ({"outgoing_level": 9}, "outgoing_level: expected a level, 1 to 8"),
        ({"outgoing_level": "provider_trust"}, "outgoing_level: expected a level, 1 to 8"),
        ({"outgoing_level": True}, "outgoing_level: expected a level, 1 to 8"),
        ({"copy_to_self": "yes"}, "copy_to_self: expected true or false"),
        ({"prefer_encrypt": "always"}, "prefer_encrypt: expected nopreference or mutual"),
        ({"keep_outside": "X-Spam"}, "keep_outside: expected a list of texts"),
        ({"mailer": 3}, "mailer: expected a text"),
        ({"colour": "red"}, "there is no such setting"),
    ],
)
def test_the_operator_reads_what_was_expected(settings: dict[str, object], sentence: str) -> None:
    """The setting, and what may stand there."""
    with pytest.raises(BadSetting) as bad:
        parse(settings)

    assert sentence == str(bad.value)


def test_the_default_defers() -> None:
    """Nobody gets plaintext by saying nothing."""
    assert WithoutCertificate.DEFER is parse({}).mailbox.without_certificate
    assert (MailboxPolicy(), SenderPolicy()) == resolve({}, {})[0]
    assert set(SETTINGS) == set(resolve({}, {})[1])


@pytest.mark.parametrize(
    "settings",
    [
        {"without_certificate": "plaintext"},
        {"header_policy": 3},
        {"no_such": "x"},
        {"keep_outside": "X-Spam"},
        {"keep_outside": ["X Spam"]},
        {"keep_outside": ["X-Spam:"]},
        {"keep_outside": [""]},
        {"keep_outside": ["X-Späm"]},
        {"keep_outside": ["X\r\nSubject"]},
        {"keep_outside": ["Content-Type"]},
        {"keep_outside": ["MIME-Version"]},
        {"keep_outside": ["dkim-signature"]},
        {"keep_outside": ["ARC-Seal"]},
        {"keep_outside": ["Autocrypt-Gossip"]},
        {"keep_outside": ["HP-Outer"]},
        {"keep_outside": ["Letterlock"]},
        {"mailer": "nobody"},
        {"mailer": "a@example.org\r\nBcc: b@example.org"},
        {"mailer": "ä@example.org"},
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object]) -> None:
    """Unknown words, what is no field name, and what must never stay outside."""
    with pytest.raises(BadSetting):
        parse(settings)


def test_ordinary_settings_are_taken() -> None:
    """The operator's list of harmless fields."""
    policy = parse({"keep_outside": ["X-Spam-Flag", "List-Id"], "mailer": "mx@example.org"}).mailbox

    assert ("X-Spam-Flag", "List-Id") == policy.keep_outside
