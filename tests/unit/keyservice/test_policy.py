"""The mailbox's own settings go over its domain's, and all of them are checked."""

import pytest

from keyservice.errors import BadSetting
from keyservice.operator_wire import PolicySource
from keyservice.policy import SETTINGS, parse, resolve
from keyservice.wire import HeaderPolicy, MailboxPolicy, WithoutCertificate


def test_the_nearest_setting_wins_and_its_source_is_told() -> None:
    """Mailbox over domain over default."""
    domain = {"without_certificate": "accept", "header_policy": "hcp_shy"}
    policy, sources = resolve(domain, {"header_policy": "hcp_all"})

    assert WithoutCertificate.ACCEPT is policy.without_certificate
    assert HeaderPolicy.HCP_ALL is policy.header_policy
    assert PolicySource.DOMAIN is sources["without_certificate"]
    assert PolicySource.MAILBOX is sources["header_policy"]
    assert PolicySource.DEFAULT is sources["mailer"]


def test_the_default_defers() -> None:
    """Nobody gets plaintext by saying nothing."""
    assert WithoutCertificate.DEFER is parse({}).without_certificate
    assert MailboxPolicy() == resolve({}, {})[0]
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
    policy = parse({"keep_outside": ["X-Spam-Flag", "List-Id"], "mailer": "mx@example.org"})

    assert ("X-Spam-Flag", "List-Id") == policy.keep_outside
