"""Mailboxes are parsed strictly and compared as delivery compares them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyservice.mailbox import InvalidMailbox, Mailbox


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("Alice@Example.ORG", "alice@example.org"),
        ("alice@example.org.", "alice@example.org"),
        ("ÄLice@example.org", "Älice@example.org"),
        ("alice@bücher.example", "alice@xn--bcher-kva.example"),
        ("a/b+c@example.org", "a/b+c@example.org"),
    ],
)
def test_spellings_of_one_mailbox_have_one_key(text: str, key: str) -> None:
    """Case of ASCII letters, the final dot and the form of the domain make no difference."""
    assert key == Mailbox.parse(text).key


@pytest.mark.parametrize(
    "text",
    [
        "",
        "alice",
        "@example.org",
        "alice@",
        '"alice"@example.org',
        "alice@[127.0.0.1]",
        "alice@example..org",
        "alice@.example.org",
        "alice bob@example.org",
        "alice@example.org\r\nx",
        # An octet that is no UTF-8, as Python has it.
        "alice\udcff@example.org",
        "a" * 65 + "@example.org",
        "alice@" + "a." * 200 + "org",
    ],
)
def test_what_is_no_plain_mailbox_is_refused(text: str) -> None:
    """Quoted local parts, literals, blanks and control characters never get further."""
    with pytest.raises(InvalidMailbox):
        Mailbox.parse(text)


@given(st.text(max_size=40))
def test_parsing_never_fails_otherwise(text: str) -> None:
    """Any text is a mailbox or InvalidMailbox, and a key is its own key."""
    try:
        mailbox = Mailbox.parse(text)
    except InvalidMailbox:
        return

    assert mailbox.key == Mailbox.parse(mailbox.key).key
