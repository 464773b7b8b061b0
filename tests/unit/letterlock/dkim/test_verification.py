"""DKIM signatures are worth what RFC 6376, RFC 8301 and RFC 8601 say, whatever is wrong."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from letterlock.dkim.body_hash import BodyHasher
from letterlock.dkim.faults import Fault
from letterlock.dkim.signed_header import SignedHeader
from letterlock.dkim.verification import SIGNATURES_MAX, check_header
from letterlock.dns import DnsUnavailable
from letterlock.message import split
from signed_corpus import corpus
from signed_mail import NOW, ed25519_key, field, message, rsa_key, signed, tags

KEY = rsa_key()
CASES = list(corpus())


def records_of(*keys):
    published = {key.name: (key.record.encode(),) for key in keys}
    return lambda name: published.get(name, ())


def unreachable(_name):
    raise DnsUnavailable("down")


def checked(mail, records, now=NOW):
    """Return what is found out about the signatures; the body comes in pieces."""
    section, body = split(mail)
    found = check_header(section, SignedHeader(section), records, now)
    hasher = BodyHasher({wanted for one in found for wanted in one.wants})
    for at in range(0, len(body), 7):
        hasher.write(body[at : at + 7])
    hasher.close()
    return [one.after_body(hasher) for one in found]


def results(mail, records, now=NOW):
    return [one.result.value for one in checked(mail, records, now)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_signature_is_worth_what_the_standards_say(case):
    """The same cases are put to other verifiers in `integration/test_authentication_corpus.py`."""

    def records(name):
        return tuple(record.encode() for record in case.records.get(name, ()))

    assert [*case.expected] == results(case.mail, unreachable if case.is_unreachable else records)


def test_every_signature_has_a_result_of_its_own():
    """Mailing lists sign beside the author; one of both may be broken (RFC 6376 §4)."""
    other = ed25519_key()
    mail = signed(signed(message(), KEY), other)
    broken = mail.replace(b"MIME-Version: 1.0\r\n", b"X: y\r\nMIME-Version: 1.0\r\n").replace(
        b"bh=", b"bh=AAAA", 1
    )

    assert ["pass", "pass"] == results(mail, records_of(KEY, other))
    assert ["pass", "permerror"] == results(mail, records_of(other))
    assert ["fail", "pass"] == results(broken, records_of(KEY, other))


def test_of_many_signatures_the_topmost_are_looked_at():
    """The others cost nothing and vouch for nothing."""
    mail = message()
    for _ in range(SIGNATURES_MAX + 3):
        mail = signed(mail, KEY)
    asked = []

    def records(name):
        asked.append(name)
        return records_of(KEY)(name)

    assert ["pass"] * SIGNATURES_MAX == results(mail, records)
    assert SIGNATURES_MAX == len(asked)


def test_the_body_is_wanted_only_where_it_can_still_decide():
    """Only then must it be set aside before it is encrypted."""
    section, _ = split(signed(message(), KEY))
    header = SignedHeader(section)

    (hopeful,) = check_header(section, header, records_of(KEY), NOW)
    (hopeless,) = check_header(section, header, records_of(), NOW)

    assert 1 == len(hopeful.wants)
    assert 0 == len(hopeless.wants)


@pytest.mark.parametrize(("offset", "expected"), [(-299, "pass"), (-301, "neutral")])
def test_clocks_may_differ_by_five_minutes(offset, expected):
    """A signature is not from the future because a clock is slow."""
    assert [expected] == results(signed(message(), KEY), records_of(KEY), NOW + offset)


def test_an_expired_signature_does_not_need_its_key():
    """What cannot pass any more asks no question."""
    mail = signed(message(), KEY, x=str(NOW + 60))

    assert ["temperror"] == results(mail, unreachable)
    assert ["permerror"] == results(mail, unreachable, NOW + 1000)


def test_what_is_not_signed_of_the_body_is_told():
    """With l=, anybody may add a text of his own (RFC 6376 §8.2)."""
    mail = signed(message(b"signed\r\n"), KEY, l="8")

    assert [True] == [one.covers_all for one in checked(mail, records_of(KEY))]
    assert [False] == [one.covers_all for one in checked(mail + b"more\r\n", records_of(KEY))]


def test_domains_beyond_ascii_are_looked_up_as_a_labels():
    """RFC 8616 §5: d= may be written in Unicode."""
    key = rsa_key(2048, "sel", "xn--mnchen-3ya.example")
    use = tags(key, d="münchen.example")
    mail = field(message(), key, use) + message()

    (found,) = checked(mail, records_of(key))

    assert "pass" == found.result.value
    assert "xn--mnchen-3ya.example" == found.claims.domain


@pytest.mark.parametrize(
    "d", ["org", "exa mple.org", "-example.org", "x" * 64 + ".org", "a..b", "@"]
)
def test_a_domain_that_is_none_is_not_asked_for(d):
    """Nor one that is a top-level domain: nobody signs for all of it."""
    mail = field(message(), KEY, tags(KEY, d=d)) + message()

    (found,) = checked(mail, unreachable)

    assert Fault.SYNTAX is found.fault


def test_fields_that_would_cost_us_time_are_refused():
    """dkimpy takes minutes for such fields; two of each are more than a milter may take."""
    blanks = b" \r\n\t" * 30_000
    forms = [
        b"DKIM-Signature: v=1; b" + blanks + b"x=1\r\n",
        b"DKIM-Signature: v=1; b=A" + blanks + b"!\r\n",
        b"DKIM-Signature: " + b"v=1;" * 20_000 + b"\r\n",
        b"DKIM-Signature: v=1; h=" + b"from:" * 3000 + b"from; d=a.b\r\n",
    ]
    began = time.process_time()

    for form in forms * 2:
        assert ["pass"] != results(form + message(), unreachable)
    assert time.process_time() - began < 2


def test_a_section_of_many_fields_costs_time_in_proportion():
    """h= lists as many names as fit, and the section has as many fields as fit."""
    names = ":".join(["from", *(f"x-{n}" for n in range(1500))])
    fields = b"".join(b"X-%d: y\r\n" % (n % 1500) for n in range(20_000))
    mail = fields + message()
    for _ in range(SIGNATURES_MAX):
        mail = field(message(), KEY, tags(KEY, h=names, b="A" * 344)) + mail
    began = time.process_time()

    assert ["fail"] * SIGNATURES_MAX == results(mail, records_of(KEY))
    assert time.process_time() - began < 2


TAGS = st.sampled_from(["v", "a", "b", "bh", "c", "d", "h", "i", "l", "q", "s", "t", "x", "z", "V"])
VALUES = st.one_of(
    st.binary(max_size=30),
    st.sampled_from([b"1", b"rsa-sha256", b"relaxed/relaxed", b"example.org", b"sel", b"from"]),
)
LISTS = st.lists(st.tuples(TAGS, VALUES), max_size=14)


@given(LISTS, st.binary(max_size=40))
def test_no_field_makes_it_fail(pairs, record):
    """Whatever the signature and the record say: a result, never an exception."""
    value = b";".join(name.encode() + b"=" + text for name, text in pairs).replace(b"\n", b"")
    section, _ = split(b"DKIM-Signature: " + value + b"\r\nFrom: x\r\n\r\n")

    for one in check_header(section, SignedHeader(section), lambda _name: (record,), NOW):
        assert "pass" != one.result.value


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_change_of_any_signed_octet_breaks_the_signature(at, difference):
    """Simple canonicalization: nothing may differ, in the signature field itself neither."""
    mail = signed(message(), KEY, c="simple/simple")
    start, end = mail.index(b"From:"), mail.index(b"MIME-Version")
    b = mail.index(b"\tb=")
    places = [*range(mail.index(b"v=1"), b), *range(start, end)]
    place = places[at % len(places)]
    octet = bytes([mail[place] ^ difference])

    changed = mail[:place] + octet + mail[place + 1 :]

    assert ["pass"] != results(changed, records_of(KEY))
