"""No field that a mail client could take for ours survives; others' do."""

import email.headerregistry
import re
import time

import authres
import pytest
from hypothesis import given
from hypothesis import strategies as st

from letterlock.authentication import forged_fields
from letterlock.authentication.forged import claims
from letterlock.message import split

OURS = "mx.example.test"


@pytest.mark.parametrize(
    "value",
    [
        b" mx.example.test; dkim=pass",
        b"mx.example.test;dkim=pass",
        b" MX.Example.TEST; dkim=pass",
        b" mx.example.test 1; dkim=pass",
        b" mx.example.test/1; dkim=pass",
        b" mx.example.test.; dkim=pass",
        b" mx.example.test",
        b" mx.example.test dkim=pass",
        b" mx.example.test\r\n\t; dkim=pass",
        b"\r\n mx.example.test;\r\n dkim=pass",
        b' "mx.example.test"; dkim=pass',
        b' "mx.exam\\ple.test"; dkim=pass',
        b' "mx.example.test; dkim=pass',
        b" (a comment) mx.example.test; dkim=pass",
        b" (a (nested; one)) mx.example.test; dkim=pass",
        b" (with \\) in it) mx.example.test; dkim=pass",
        b' (with " in it) mx.example.test; dkim=pass',
        b" mx.example.test (a comment); dkim=pass",
        b" mx(a).example(b).test; dkim=pass",
        b" mx . example . test; dkim=pass",
        b" (without an end mx.example.test; dkim=pass",
        b" (without an end; mx.example.test; dkim=pass",
        b" ; mx.example.test; dkim=pass",
        b" ;;; =; mx.example.test; dkim=pass",
        b" (x); mx.example.test; dkim=pass",
        b" <mx.example.test>; dkim=pass",
        b" mx.example.test:25; dkim=pass",
        b" 1 mx.example.test; dkim=pass",
        b" =?utf-8?q?mx=2Eexample=2Etest?=; dkim=pass",
        b" =?us-ascii?b?bXguZXhhbXBsZS50ZXN0?=; dkim=pass",
        " mx.exa\u00admple.test; dkim=pass".encode(),
        " mx.exa\u200bmple.test; dkim=pass".encode(),
        " \uff4d\uff58.example\uff0etest; dkim=pass".encode(),
        b" mx.exam\x00ple.test; dkim=pass",
        b"\xff mx.example.test; dkim=pass",
        b"\xc2\xa0mx.example.test; dkim=pass",
    ],
)
def test_whatever_may_be_read_as_our_name_is_forged(value):
    """Right or wrong by the grammar: clients read what they find."""
    assert claims(value, OURS)


@pytest.mark.parametrize(
    "value",
    [
        b" mx.example.org; dkim=pass",
        b" example.test; dkim=pass",
        b" other.mx.example.test; dkim=pass",
        b" mx.example.test.example.org; dkim=pass",
        b" relay.example.org; spf=pass smtp.helo=mx.example.test",
        b" relay.example.org (as told by mx.example.test); spf=pass",
        b" relay.example.org (mx.example.test) 1; spf=pass",
        b' relay.example.org; dkim=pass reason="mx.example.test; dkim=pass"',
        b" relay.example.org; none",
        " münchen.example; none".encode(),
        b"",
        b" ;",
        b" ()",
    ],
)
def test_what_others_found_out_is_left_alone(value):
    """It may name us: it is about mail that we sent."""
    assert not claims(value, OURS)


def test_names_beyond_ascii_are_the_same_in_either_form():
    """RFC 8601 §2.5 allows both."""
    assert claims(" mx.münchen.test; none".encode(), "mx.xn--mnchen-3ya.test")
    assert claims(b" mx.xn--mnchen-3ya.test; none", "mx.xn--mnchen-3ya.test")


def test_only_authentication_results_fields_are_looked_at():
    """What is in ARC-Authentication-Results is sealed, and no client reads it as ours."""
    section, _ = split(
        b"Authentication-Results: mx.example.test; none\r\n"
        b"ARC-Authentication-Results: i=1; mx.example.test; none\r\n"
        b"AUTHENTICATION-results : mx.example.test; none\r\n"
        b"X-Authentication-Results: mx.example.test; none\r\n"
        b"Authentication-Results: other.test; none\r\n"
        b"\r\n"
    )

    assert {0, 2} == forged_fields(section, OURS)


def test_a_long_field_costs_little():
    """Whatever nests or does not end."""
    began = time.process_time()

    for text in (b"(", b"()", b'"', b";", b". ", b" ", b"\r\n ", b"a ", b"=", b"\\", b"\xc3\xbc"):
        claims(text * (100_001 // len(text)) + b"mx.example.test", OURS)
    assert time.process_time() - began < 2


BLANKS = st.sampled_from(["", " ", "\t", "\r\n ", "(x)", "(a;b)", "((n))", '("")', " ( \\) ) "])
IDS = st.sampled_from([OURS, OURS.upper(), "mx.example.org", f'"{OURS}"', "mx", "mx.example"])
TAILS = st.sampled_from([";", " 1;", "1 ;", "", "/1;", ".;", "; ;"])
RESTS = st.sampled_from([" none", " dkim=pass header.d=x.test", " mx.example.test; none", ""])
NOISE = st.text(alphabet='();"\\= .mx\t', max_size=6)


def _authres(text):
    return authres.AuthenticationResultsHeader.parse_value(text).authserv_id


def _naive(text):
    return text.partition(";")[0].strip()


def _first_word(text):
    return re.match(r"\s*([\w.-]+)", text)[1]


def _without_comments(text):
    return re.sub(r"\([^()]*\)", "", text).partition(";")[0].split()[0].strip('"')


def _python(text):
    return email.headerregistry.HeaderRegistry()("X", text).partition(";")[0].strip()


READERS = (_authres, _naive, _first_word, _without_comments, _python)


@given(st.tuples(NOISE, BLANKS, IDS, BLANKS, TAILS, RESTS).map("".join))
def test_what_any_of_several_readers_takes_for_ours_is_forged(text):
    """A parser after the grammar, and four that are as careless as clients are."""
    unfolded = text.replace("\r\n", "")
    read = set()
    for reader in READERS:
        try:
            read.add(reader(unfolded).lower())
        except (authres.AuthResError, TypeError, IndexError):
            continue

    if OURS in read:
        assert claims(text.encode(), OURS)
