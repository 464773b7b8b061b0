"""The Autocrypt field of ours is one that others take for valid."""

import base64
from email.parser import BytesHeaderParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocrypt_mail import five_packets
from keyservice import autocrypt
from keyservice.autocrypt import PreferEncrypt
from keyservice.mailbox import Mailbox
from letterlock.autocrypt_field import FIELD_OCTETS_MAX, autocrypt_field
from letterlock.message import HeaderSection

ALICE = Mailbox.parse("alice+news@Example.org")


@pytest.mark.parametrize("preference", PreferEncrypt)
def test_the_parser_reads_what_was_written(preference):
    """Address, certificate and wish, as the key service would take them from a stranger."""
    certificate = five_packets("Alice <alice@example.org>")

    field = autocrypt_field(ALICE, certificate, preference)

    assert field is not None
    found = autocrypt.sent_by([field.value], ALICE)
    assert autocrypt.Reading(autocrypt.Header(ALICE.key, certificate, preference)) == found


def test_it_reads_the_same_unfolded():
    """Relays may fold anew; a client sees one line."""
    certificate = five_packets("Alice <alice@example.org>")
    field = autocrypt_field(ALICE, certificate, PreferEncrypt.MUTUAL)
    assert field is not None

    parsed = BytesHeaderParser().parsebytes(HeaderSection((field,)).octets + b"\r\n")
    unfolded = field.unfolded

    assert certificate == autocrypt.parse(unfolded).keydata
    assert certificate == autocrypt.parse(str(parsed["Autocrypt"]).encode()).keydata


def test_it_has_the_form_of_the_specification():
    """Level 1: `addr` first, `keydata` last; no preference is not written."""
    field = autocrypt_field(Mailbox.parse("a@b.test"), b"\0" * 60, PreferEncrypt.NOPREFERENCE)

    assert field is not None
    assert b" addr=a@b.test;\r\n keydata=\r\n " + b"A" * 76 + b"\r\n AAAA" == field.value


@given(st.binary(min_size=1, max_size=9_000))
def test_lines_are_short_and_hold_what_they_were_given(keydata):
    """RFC 5322 §2.1.1: 78 columns, which no relay folds again."""
    field = autocrypt_field(ALICE, keydata, PreferEncrypt.MUTUAL)

    if field is not None:
        assert max(map(len, field.octets.split(b"\r\n"))) <= 78
        encoded = field.unfolded.partition(b"keydata=")[2]
        assert keydata == base64.b64decode(b"".join(encoded.split()), validate=True)


def test_what_is_too_large_is_not_written():
    """Level 1: ten KiB in all. The largest that fits is valid, one more octet is not."""
    sizes = range(6_000, 8_000, 3)
    fields = [autocrypt_field(ALICE, bytes(size), PreferEncrypt.NOPREFERENCE) for size in sizes]
    largest = max(len(field.octets) for field in fields if field is not None)

    assert fields[0] is not None
    assert fields[-1] is None
    assert FIELD_OCTETS_MAX - 8 < largest <= FIELD_OCTETS_MAX


def test_a_mailbox_beyond_ascii_has_none():
    """Its address could not be written outside."""
    mailbox = Mailbox.parse("älice@example.org")

    assert autocrypt_field(mailbox, b"\0", PreferEncrypt.MUTUAL) is None
