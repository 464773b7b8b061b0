"""Our results are a field that everybody reads the same way, whatever strangers wrote."""

import re

import authres
import pytest
from hypothesis import given
from hypothesis import strategies as st

from letterlock.authentication.results import (
    arc_results,
    dkim_results,
    read_field,
    results_field,
    spf_results,
)
from letterlock.authentication.spf_check import Identity, SpfChecked, SpfResult
from letterlock.dkim.arc import Chain, ChainResult
from letterlock.dkim.faults import Fault
from letterlock.dkim.verification import Checked, Claims
from letterlock.message import HeaderField

OURS = "mx.example.test"
CLAIMS = Claims("example.org", "sel", "rsa-sha256", "AbCdEfGhIjKl==")


def written(results):
    """Return the field without folds."""
    field = results_field(OURS, results)
    assert b"Authentication-Results" == field.name
    return re.sub(r"\r\n(?=[ \t])", "", field.value.decode("ascii")).strip()


def test_a_signature_is_named_by_what_tells_it_from_others():
    """RFC 8601 §2.7.1, RFC 6008 §3: the domain, the selector, the beginning of b=."""
    text = written(dkim_results([Checked(CLAIMS, None)]))

    expected = (
        "mx.example.test; dkim=pass header.d=example.org header.s=sel"
        " header.a=rsa-sha256 header.b=AbCdEfGh"
    )
    assert expected == text


def test_why_a_signature_is_worth_nothing_is_said():
    """For the owner who wonders; in words of ours only."""
    text = written(dkim_results([Checked(Claims(), None, Fault.EXPIRED)]))

    assert 'mx.example.test; dkim=permerror reason="signature expired"' == text


def test_unsigned_mail_is_said_to_be_so():
    """`none` is a result, not its absence."""
    assert "mx.example.test; dkim=none" == written(dkim_results([]))


def test_where_nothing_was_found_out_the_field_says_that():
    """RFC 8601 §2.2: `none`."""
    assert "mx.example.test; none" == written([])


def test_a_body_that_is_signed_in_part_is_said_to_be_so():
    """`pass` alone would be read as if all of it were (RFC 6376 §8.2)."""
    text = written(dkim_results([Checked(CLAIMS, None, covers_all=False)]))

    assert 'dkim=pass reason="part of the body is not signed"' in text


def test_signatures_that_begin_alike_are_shown_longer():
    """RFC 6008 §4: else a result could be taken for another's."""
    alike = [CLAIMS, Claims("example.org", "sel", "rsa-sha256", "AbCdEfGhXXXX")]

    text = written(dkim_results([Checked(one, None) for one in alike]))

    assert ["AbCdEfGhIjKl==", "AbCdEfGhXXXX"] == re.findall(r'header\.b="?([\w+/=]+)', text)


def test_a_chain_is_named_by_its_sealer():
    """RFC 8617 §7 has oldest-pass."""
    chain = Chain(ChainResult.PASS, None, "list.test", 2, ())

    assert "arc=pass header.oldest-pass=3 header.as-d=list.test" in written(arc_results(chain))
    assert "mx.example.test; none" == written(arc_results(Chain(ChainResult.NONE)))
    failed = written(arc_results(Chain(ChainResult.FAIL, Fault.SEAL)))
    assert 'arc=fail reason="seal did not verify"' in failed


@pytest.mark.parametrize(
    ("local_part", "shown"),
    [
        ("alice", "alice@example.org"),
        ("a.b+c=d", "a.b+c=d@example.org"),
        ("", "example.org"),
        ('"a b"', "example.org"),
        ("a;dkim=pass", "example.org"),
        ("a(b", "example.org"),
        ("grüße", "example.org"),
        ("\udcff", "example.org"),
        ("a" * 65, "example.org"),
    ],
)
def test_a_local_part_that_would_need_quotes_is_left_out(local_part, shown):
    """RFC 8601 §2.3 lets it be left out; not every reader knows quotes."""
    checked = SpfChecked(Identity.MAIL_FROM, SpfResult.PASS, "example.org", local_part)

    assert f"mx.example.test; spf=pass smtp.mailfrom={shown}" == written(spf_results([checked]))


def test_both_identities_are_told_apart():
    """RFC 8601 §2.7.2."""
    checked = [SpfChecked(i, SpfResult.NONE, "example.org") for i in Identity]

    text = written(spf_results(checked))

    assert "spf=none smtp.mailfrom=example.org; spf=none smtp.helo=example.org" in text


TEXTS = st.one_of(
    st.text(max_size=40),
    st.sampled_from(["x; dkim=pass", "x\r\nFrom: y", 'a"b', "a\\", "(", "a@b", "x" * 500, "\0"]),
)


@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS, TEXTS), max_size=9), TEXTS, TEXTS)
def test_nothing_a_stranger_wrote_gets_out_of_its_place(claims, domain, local_part):
    """Printable ASCII in lines that fit, and read back as exactly the results that were meant."""
    dkim = [Checked(Claims(*texts), None, Fault.SIGNATURE) for texts in claims]
    spf = [SpfChecked(Identity.MAIL_FROM, SpfResult.FAIL, domain, local_part)]
    chain = Chain(ChainResult.PASS, None, domain, 1, ())

    field = results_field(OURS, [*dkim_results(dkim), *arc_results(chain), *spf_results(spf)])

    lines = field.octets.removesuffix(b"\r\n").split(b"\r\n")
    assert all(re.fullmatch(rb"[ -~]+", line) for line in lines)
    assert all(line.startswith(b" ") and line.strip() for line in lines[1:])
    assert all(len(line) <= 998 for line in lines)
    parsed = authres.AuthenticationResultsHeader.parse_value(field.unfolded.decode())
    expected = [("dkim", "fail")] * len(claims) or [("dkim", "none")]
    expected += [("arc", "pass"), ("spf", "fail")]
    assert expected == [(one.method, one.result) for one in parsed.results]


RSPAMD = b""" rspamd.example.test;
\tdkim=pass header.d=example.org header.s=sel header.b="AbC/Ef+h";
\tspf=pass (rspamd.example.test: domain of alice@example.org designates 192.0.2.1 as
 permitted sender) smtp.mailfrom=alice@example.org;
\tarc=pass ("list.test:s=a2:i=1");
\tdmarc=pass (policy=none) header.from=example.org"""

OPENDKIM = b""" mx.example.test;
\tdkim=pass (2048-bit key; unprotected) header.d=example.org header.i=@example.org
 header.a=rsa-sha256 header.s=sel header.b=AbCdEfGh;
\tdkim-atps=neutral"""


def test_what_other_filters_write_is_understood():
    """In the forms that rspamd and opendkim have."""
    rspamd = read_field(HeaderField(b"Authentication-Results", RSPAMD.replace(b"\n", b"\r\n")))
    opendkim = read_field(HeaderField(b"Authentication-Results", OPENDKIM.replace(b"\n", b"\r\n")))

    assert rspamd
    assert "rspamd.example.test" == rspamd.authserv_id
    assert ["dkim", "spf", "arc", "dmarc"] == [result.method for result in rspamd.results]
    signed = rspamd.results[0].properties
    assert ("example.org", "sel", "AbC/Ef+h") == tuple(signed[f"header.{x}"] for x in "dsb")
    assert opendkim
    signed = opendkim.results[0].properties
    assert ("example.org", "sel", "AbCdEfGh") == tuple(signed[f"header.{x}"] for x in "dsb")


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b" ;",
        b" mx.example.test; dkim",
        b" mx.example.test 2; dkim=pass",
        b" " + b"(" * 5000,
        " mx.example.test; dkim=pass header.d=münchen.example".encode(),
        b" mx.example.test; dkim=pass" + b" header.d=x" * 2000,
    ],
)
def test_what_is_not_clear_is_not_believed(value):
    """Also what takes too long to understand."""
    assert None is read_field(HeaderField(b"Authentication-Results", value))
