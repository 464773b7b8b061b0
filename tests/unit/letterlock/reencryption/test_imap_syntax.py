"""What IMAP servers say (RFC 3501 §4, §9)."""

import pytest

from letterlock.reencryption.imap_syntax import (
    Incomprehensible,
    decoded_name,
    octets_of,
    pairs,
    quoted,
    text_of,
    values,
)


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ([b"1 (UID 5 FLAGS (\\Seen $A))"], [[b"1", [b"UID", b"5", b"FLAGS", [b"\\Seen", b"$A"]]]]),
        ([b'(\\A) "/" INBOX'], [[[b"\\A"], b"/", b"INBOX"]]),
        ([b'(\\A) NIL "a \\"b\\" \\\\ c"'], [[[b"\\A"], None, b'a "b" \\ c']]),
        ([(b'() "/" {3}', b'a"b'), b""], [[[], b"/", b'a"b']]),
        ([b"() nil x"], [[[], None, b"x"]]),
        ([b'(("" "/")) NIL (("a/" "/"))'], [[[[b"", b"/"]], None, [[b"a/", b"/"]]]]),
        (
            [(b"1 (BODY[HEADER.FIELDS (A B)] {2}", b"xy"), b" FLAGS ())"],
            [[b"1", [b"BODY[HEADER.FIELDS (A B)]", b"xy", b"FLAGS", []]]],
        ),
        ([(b"1 (A {1}", b"("), (b" B {1}", b")"), b")"], [[b"1", [b"A", b"(", b"B", b")"]]]),
        ([b"1 (BODY[]<0> NIL)"], [[b"1", [b"BODY[]<0>", None]]]),
        ([b"1 (A 1) ", b"2 (A 2)"], [[b"1", [b"A", b"1"]], [b"2", [b"A", b"2"]]]),
        ([b'() "/" \xc3\xa9'], [[[], b"/", b"\xc3\xa9"]]),
    ],
)
def test_responses(response, expected) -> None:
    """As imaplib returns them: what ends in a literal goes on in the next element."""
    assert expected == list(values(response))


@pytest.mark.parametrize("response", [b"1 (A", b"1 A)", b'1 "A', b"{5}x", b"(a]", b"(("])
def test_what_is_no_response_is_not_guessed_at(response) -> None:
    """A list that is not closed, or a string that does not end."""
    with pytest.raises(Incomprehensible):
        list(map(octets_of, list(values([response]))))


def test_items_by_name() -> None:
    """In capitals, whatever the server likes."""
    assert {b"UID": b"5", b"FLAGS": []} == pairs([b"uid", b"5", b"Flags", []])
    with pytest.raises(Incomprehensible):
        pairs(b"UID")
    with pytest.raises(Incomprehensible):
        pairs([b"UID"])


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("INBOX", "INBOX"),
        ("Entw&APw-rfe", "Entwürfe"),
        ("&ZeVnLIqe-", "日本語"),
        ("A &- B", "A & B"),
    ],
)
def test_mailbox_names(name: str, shown: str) -> None:
    """RFC 3501 §5.1.3."""
    assert shown == decoded_name(name)


@pytest.mark.parametrize("name", [b"a", b'a"b\\c', b"\xff"])
def test_a_name_goes_back_as_it_came(name: bytes) -> None:
    """Any octets."""
    assert [[name]] == list(values([quoted(text_of(name))]))
