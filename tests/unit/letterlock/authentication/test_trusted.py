"""What a filter before us found out is believed; what strangers write in its name is not."""

import pytest

from keyservice.client import VerifiedSignature
from letterlock.authentication.trusted import read_trusted, spam_verdict
from letterlock.message import split
from signed_mail import NOW, field, message, rsa_key, signed, tags

KEY = rsa_key()
IDS = ["Filter.example.test"]
PASSED = "Authentication-Results: filter.example.test; dkim=pass header.d=example.org"
NAMES = ("from", "to", "subject", "date", "message-id")
VERIFIED = VerifiedSignature(domain="example.org", signed_fields=NAMES, has_body_length=False)


def trusted(*lines, mail=None):
    """Return what is believed of the mail with `lines` on top."""
    top = "".join(f"{line}\r\n" for line in lines).encode()
    section, _ = split(top + (signed(message(), KEY) if mail is None else mail))
    return read_trusted(section, IDS, NOW)


def beginning(mail, length=8):
    """Return so much of b= of the first signature."""
    start = mail.index(b"\tb=") + 3
    return mail[start : start + length].decode()


def test_a_signature_that_the_filter_passed_is_verified():
    """What it covers is read from its field."""
    found = trusted(PASSED + " header.s=sel")

    assert (VERIFIED,) == found.signatures
    assert {0} == found.indexes
    assert {"dkim"} == found.methods


def test_body_lengths_are_seen():
    """Evidence needs to know."""
    mail = signed(message(), KEY, l="3")

    assert [True] == [one.has_body_length for one in trusted(PASSED, mail=mail).signatures]


@pytest.mark.parametrize("result", ["fail", "neutral", "none", "temperror", "permerror", "policy"])
def test_only_pass_is_pass(result):
    """The method is known all the same."""
    found = trusted(PASSED.replace("pass", result))

    assert () == found.signatures
    assert {"dkim"} == found.methods


@pytest.mark.parametrize(
    "line",
    [
        PASSED.replace("filter", "other"),
        PASSED.replace("Authentication", "X-Authentication"),
        PASSED.replace("Authentication", "ARC-Authentication"),
        "Authentication-Results: (filter.example.test) x; dkim=pass header.d=example.org",
        "Authentication-Results: filter.example.test dkim=pass header.d=example.org",
    ],
)
def test_what_is_not_clearly_of_the_filter_is_not_believed(line):
    """Here the strictest reading counts, where forgeries are sought the loosest."""
    assert not trusted(line).methods


@pytest.mark.parametrize(
    "line",
    [
        "Received: from x",
        "From: x@example.org",
        "DKIM-Signature: v=1",
        "Subject: x",
        "Return-Path: <>",
    ],
)
def test_what_stands_below_a_peers_field_is_the_peers(line):
    """Filters add on top; a peer writes what it likes."""
    assert not trusted(line, PASSED).methods


def test_below_other_fields_of_filters_it_is_found():
    """Several filters, each with fields of its own."""
    found = trusted("X-Spam-Flag: NO", "Received-SPF: pass", "ARC-Seal: i=1", PASSED)

    assert (VERIFIED,) == found.signatures
    assert {3} == found.indexes


def test_of_two_fields_about_a_method_the_upper_counts():
    """The lower may be what the peer wrote, at the very top of its message."""
    found = trusted(PASSED.replace("pass", "none"), PASSED)

    assert () == found.signatures
    assert {0, 1} == found.indexes


def test_fields_about_other_methods_add_up():
    """One filter checks DKIM, the next SPF or DMARC; both write under the host's name."""
    found = trusted(
        "Authentication-Results: filter.example.test; dmarc=pass header.from=example.org",
        "Authentication-Results: filter.example.test; spf=pass smtp.mailfrom=example.org",
        PASSED,
    )

    assert (VERIFIED,) == found.signatures
    assert {"dmarc", "spf", "dkim"} == found.methods


@pytest.mark.parametrize(
    "said",
    [
        "header.d=example.net",
        "header.d=example.org header.s=other",
        "header.s=sel",
        "header.b=AAAA",
    ],
)
def test_a_result_that_fits_no_signature_vouches_for_none(said):
    """It is about something that is not there any more."""
    line = PASSED.replace("header.d=example.org", said)

    assert () == trusted(line).signatures


def forged(mail, **use):
    """Return a signature field that claims to be of the key's owner and covers more."""
    listed = tags(KEY, h=":".join([*NAMES, "autocrypt"]), **use)
    return field(mail, KEY, {**listed, "b": use.get("b") or "A" * 344})


def test_a_signature_made_to_look_like_the_one_that_passed_gets_nothing():
    """Same domain, same selector, same beginning: then nobody is vouched for.

    Else mail that was signed once could be sent again with a forged Autocrypt field, and a
    signature field that lists it.
    """
    genuine = signed(message(), KEY)
    start = beginning(genuine)
    line = PASSED + f' header.s=sel header.b="{start}"'
    twin = forged(message(), b=start + "A" * 336) + genuine
    stranger = forged(message()) + genuine

    assert () == trusted(line, mail=twin).signatures
    assert () == trusted(PASSED, mail=stranger).signatures
    assert (VERIFIED,) == trusted(line, mail=stranger).signatures


def test_where_one_signature_is_not_clear_none_is_vouched_for():
    """The filter may have read it in another way than we do, and meant that one."""
    unclear = [
        b"DKIM-Signature: v=1; v=1; d=example.org; s=sel; b=AAAA\r\n",
        b"DKIM-Signature: v=1; d=example..org; s=sel; b=AAAA\r\n",
        b"DKIM-Signature: v=1; d=other.test; s=sel; b=\r\n",
        b"DKIM-Signature: " + b"x" * 20_000 + b"\r\n",
    ]
    for one in unclear:
        assert () == trusted(PASSED, mail=one + signed(message(), KEY)).signatures


def test_a_signature_of_a_kind_that_counts_for_nothing_is_not_vouched_for():
    """RFC 8301 goes for filters that do not know it, too."""
    mail = signed(message(), KEY, a="rsa-sha1")

    assert () == trusted(PASSED, mail=mail).signatures


def test_no_more_signatures_are_vouched_for_than_a_report_takes():
    """Eight; and of dozens of signatures none."""
    keys = [rsa_key(2048, "sel", f"d{n}.test") for n in range(2)]
    mail = message()
    for number in range(60):
        key = keys[number % 2]
        mail = field(message(), key, tags(key, s=f"s{number}", b="A" * 8)) + mail
    results = "".join(f"; dkim=pass header.d=d{n % 2}.test header.s=s{n}" for n in range(60))
    line = "Authentication-Results: filter.example.test" + results

    assert () == trusted(line, mail=mail).signatures
    nine = mail[mail.index(b"DKIM-Signature", len(mail) // 60 * 45) :]
    assert 8 >= len(trusted(line, mail=nine).signatures)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ((), None),
        (("X-Spam-Flag: YES",), True),
        (("x-spam-flag:  yes, score=12",), True),
        (("X-Spam-Flag: NO",), False),
        (("From: x", "X-Spam-Flag: NO"), None),
        (("Received: x", "X-Spam-Flag: NO"), None),
        (("From: x", "X-Spam-Flag: YES"), True),
        (("X-Spam-Flag: NO", "From: x", "X-Spam-Flag: YES"), True),
        (("X-Spam-Flag: NO", "X-Other: YES"), False),
    ],
)
def test_that_mail_is_no_spam_only_the_filter_may_say(lines, expected):
    """Anybody may call it spam: who forges that harms himself."""
    section, _ = split("".join(f"{line}\r\n" for line in lines).encode() + b"\r\n")

    assert expected is spam_verdict(section, "X-Spam-Flag: YES")


def test_without_a_spam_filter_nothing_is_said():
    """The configuration names no field."""
    section, _ = split(b"X-Spam-Flag: YES\r\n\r\n")

    assert None is spam_verdict(section, "")
