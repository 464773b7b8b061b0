"""Chains of seals are valid as RFC 8617 §5.2 has it, and nothing else is."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from letterlock.dkim.arc import INSTANCES_MAX, ChainResult, check_chain
from letterlock.dkim.body_hash import BodyHasher
from letterlock.dkim.faults import Fault
from letterlock.dkim.signed_header import SignedHeader
from letterlock.dns import DnsUnavailable
from letterlock.message import split
from signed_mail import NOW, message, rsa_key, sealed

FIRST = rsa_key(2048, "a1", "first.test")
SECOND = rsa_key(2048, "a2", "list.test")
THIRD = rsa_key(2048, "a3", "third.test")
KEYS = (FIRST, SECOND, THIRD)
FOOTER = b"-- \r\nthe list\r\n"


def records(name):
    return tuple(key.record.encode() for key in KEYS if key.name == name)


def chain(mail, look=records, now=NOW):
    """Return what is found out about the chain."""
    section, body = split(mail)
    found = check_chain(section, SignedHeader(section), look, now)
    hasher = BodyHasher(found.wants)
    hasher.write(body)
    hasher.close()
    return found.after_body(hasher)


def forwarded(*changes):
    """Return mail with a set for each of the hops; each may change it before it seals."""
    mail = message()
    for number, (key, change) in enumerate(zip(KEYS, changes, strict=False)):
        mail = sealed(change(mail), key, "pass" if number else "none")
    return mail


def nothing(mail):
    return mail


def footer(mail):
    return mail + FOOTER


def without_set(mail, name):
    """Return the mail without its first field of that name."""
    section, body = split(mail)
    index = [f.key for f in section].index(name)
    kept = [field.octets for i, field in enumerate(section.fields) if i != index]
    return b"".join([*kept, section.end, body])


def test_mail_that_nobody_sealed_has_no_chain():
    """`none`: there is nothing to say."""
    found = chain(message())

    assert ChainResult.NONE is found.result
    assert not found.wants


@pytest.mark.parametrize("hops", [1, 2, 3])
def test_a_chain_whose_seals_and_newest_signature_verify_passes(hops):
    """The sealer is the last one: he vouches for what came before."""
    found = chain(forwarded(*[nothing] * hops))

    assert (ChainResult.PASS, None) == (found.result, found.fault)
    assert KEYS[hops - 1].domain == found.sealer
    assert 0 == found.oldest_pass


@pytest.mark.parametrize(
    ("changes", "oldest"),
    [
        ((nothing, footer), 2),
        ((nothing, footer, nothing), 2),
        ((nothing, nothing, footer), 3),
        ((footer, nothing, nothing), 0),
    ],
)
def test_it_is_told_since_when_the_message_is_unchanged(changes, oldest):
    """A mailing list adds a footer: what was signed before does not verify any more (§5.2)."""
    found = chain(forwarded(*changes))

    assert (ChainResult.PASS, oldest) == (found.result, found.oldest_pass)


def test_a_change_after_the_last_seal_breaks_the_chain():
    """The body counts, and what is signed of the header section."""
    mail = forwarded(nothing, nothing)

    assert Fault.BODY is chain(mail + b"more\r\n").fault
    assert Fault.SIGNATURE is chain(mail.replace(b"folded", b"forded")).fault
    assert ChainResult.PASS is chain(mail.replace(b"charset", b"character-set")).result


def test_a_change_in_what_an_earlier_hop_wrote_breaks_its_seal():
    """The results that it found are why the chain is of any use."""
    mail = forwarded(nothing, nothing).replace(b" arc=none", b" arc=pass")

    assert Fault.SEAL is chain(mail).fault


@pytest.mark.parametrize(
    "name", [b"arc-seal", b"arc-message-signature", b"arc-authentication-results"]
)
def test_a_set_that_is_not_whole_breaks_the_chain(name):
    """§5.2: each set has one of each."""
    mail = forwarded(nothing, nothing)

    assert Fault.CHAIN_STRUCTURE is chain(without_set(mail, name)).fault


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"ARC-Seal: i=1;", b"ARC-Seal: i=2;"),
        (b"ARC-Seal: i=1;", b"ARC-Seal: i=3;"),
        (b"ARC-Seal: i=1;", b"ARC-Seal: i=0;"),
        (b"ARC-Seal: i=1;", b"ARC-Seal: i=51;"),
        (b"ARC-Seal: i=1;", b"ARC-Seal: i=x;"),
        (b"ARC-Seal: i=1;", b"ARC-Seal: j=1;"),
        (b"ARC-Seal: i=1; cv=none", b"ARC-Seal: i=1; cv=pass"),
        (b"ARC-Seal: i=1; cv=none", b"ARC-Seal: i=1; cv=maybe"),
        (b"ARC-Seal: i=1; cv=none", b"ARC-Seal: i=1; h=from; cv=none"),
        (b"ARC-Seal: i=2; cv=pass", b"ARC-Seal: i=2; cv=none"),
        (b"ARC-Seal: i=2; cv=pass", b"ARC-Seal: i=2; cv=fail"),
        (b"ARC-Authentication-Results: i=1;", b"ARC-Authentication-Results: 1;"),
        (b"ARC-Authentication-Results: i=1;", b"ARC-Authentication-Results: i=1 mx;"),
        (b"ARC-Message-Signature: i=1;", b"ARC-Message-Signature: i=1; i=1;"),
    ],
)
def test_a_chain_that_is_not_as_it_must_be_fails(old, new):
    """Whether it is the numbers, the states or the grammar."""
    mail = forwarded(nothing, nothing)
    assert old in mail

    assert ChainResult.FAIL is chain(mail.replace(old, new)).result


def test_a_chain_that_failed_earlier_stays_failed():
    """A sealer that says `cv=fail` seals nothing but that (§5.1.2)."""
    mail = sealed(message(), FIRST).replace(b"cv=none", b"cv=fail")

    assert Fault.CHAIN_FAILED is chain(mail).fault


def test_a_message_signature_may_not_cover_seals():
    """§4.1.2."""
    mail = sealed(message(), FIRST).replace(b"h=from :", b"h=arc-seal : from :")

    assert Fault.SYNTAX is chain(mail).fault


def test_without_the_dns_a_chain_fails():
    """RFC 8617 §4.4 knows no temporary result."""

    def down(_name):
        raise DnsUnavailable("down")

    assert Fault.KEY_UNAVAILABLE is chain(forwarded(nothing), down).fault


def test_fields_may_be_spaced_in_any_way_that_the_grammar_has():
    """dkimpy dies of an i= that has no blank before it, if the set is valid otherwise."""
    mail = forwarded(nothing)
    squeezed = mail.replace(b"ARC-Message-Signature: i=1;", b"ARC-Message-Signature:i=1;")

    assert ChainResult.PASS is chain(squeezed).result


def test_a_chain_is_fifty_sets_long_at_most():
    """§4.2.1; and it costs time in proportion."""
    fields = b"".join(
        b"ARC-Seal: i=%d; a=rsa-sha256; cv=%s; d=first.test; s=a1; b=AAAA\r\n"
        b"ARC-Message-Signature: i=%d; a=rsa-sha256; d=first.test; s=a1; h=from; bh=A; b=A\r\n"
        b"ARC-Authentication-Results: i=%d; x; none\r\n" % (n, b"pass" if n > 1 else b"none", n, n)
        for n in range(1, INSTANCES_MAX + 2)
    )
    began = time.process_time()

    assert Fault.CHAIN_STRUCTURE is chain(fields + message()).fault
    assert time.process_time() - began < 1


FIELDS = st.sampled_from(["ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results"])
VALUES = st.sampled_from(
    ["i=1;", " i=1; a=rsa-sha256; cv=none; d=a.b; s=c; b=AA==", " i=2; cv=pass", " i=", " ;;", ""]
)


@given(st.lists(st.tuples(FIELDS, VALUES), max_size=9), st.binary(max_size=30))
def test_no_field_makes_it_fail_otherwise(pairs, record):
    """Whatever is in the fields: a result, never an exception."""
    octets = "".join(f"{name}:{value}\r\n" for name, value in pairs).encode()

    found = chain(octets + message(), lambda _name: (record,))

    assert ChainResult.PASS is not found.result
