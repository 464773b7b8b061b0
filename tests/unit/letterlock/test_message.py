"""The message is its octets."""

import time

import pytest
from hypothesis import given

import messages
from letterlock.message import HeaderSection, split


@given(messages.files())
def test_a_split_loses_nothing(octets: bytes) -> None:
    """Section, blank line and body are the file, whatever it holds."""
    section, body = split(octets)

    assert octets == section.octets + section.end + body


@given(messages.sections(), messages.bodies())
def test_a_split_finds_the_fields_that_were_joined(section: HeaderSection, body: bytes) -> None:
    """What is written as a section is read as the same fields."""
    found, rest = split(section.octets + section.end + body)

    assert (section, body) == (found, rest)


@pytest.mark.parametrize(
    ("octets", "names", "end", "body"),
    [
        (b"", [], b"", b""),
        (b"\r\nbody", [], b"\r\n", b"body"),
        (b"A: b\r\n\r\nbody", [b"A"], b"\r\n", b"body"),
        (b"A: b\nC: d\n\nbody", [b"A", b"C"], b"\n", b"body"),
        (b"A: b\r\n c\r\n\td\r\nE:\r\n\r\n", [b"A", b"E"], b"\r\n", b""),
        (b"A: b", [b"A"], b"", b""),
        (b"A: b\r", [b"A"], b"", b""),
        (b"A: b\r\nno field\r\n\r\n", [b"A"], b"", b"no field\r\n\r\n"),
        (b"From bob Fri\r\nA: b\r\n", [], b"", b"From bob Fri\r\nA: b\r\n"),
        (b" fold\r\nA: b\r\n", [], b"", b" fold\r\nA: b\r\n"),
    ],
)
def test_the_section_ends_where_it_must(
    octets: bytes, names: list[bytes], end: bytes, body: bytes
) -> None:
    """At a blank line, or before the first line that is no field."""
    section, rest = split(octets)

    assert (names, end, body) == ([field.name for field in section], section.end, rest)


def test_a_field_from_libmilter_has_its_octets_back() -> None:
    """Folds come as LF; leading blanks are part of the value."""
    (field,) = HeaderSection.from_milter([("Subject", b"\n\tempty first line \n x")])

    assert b"Subject:\r\n\tempty first line \r\n x\r\n" == field.octets
    assert b"empty first line  x" == field.unfolded


def test_names_are_compared_without_case() -> None:
    """RFC 5322 §1.2.2; blanks before the colon do not count (§4.5.8)."""
    section, _ = split(b"SUBJECT : a\r\nsubject: b\r\n\r\n")

    assert section.fields == section.named(b"subject")


def test_size_costs_linear_time() -> None:
    """A megabyte of folds, blanks or names is split in a moment."""
    started = time.process_time()
    for hostile in (b"A:" + b"\r\n " * 300_000, b"A" * 1_000_000, b"A" + b" " * 1_000_000 + b"x"):
        split(hostile)

    assert time.process_time() - started < 2
