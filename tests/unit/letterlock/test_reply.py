"""Replies that name mailboxes: short enough, and nothing in them but what was meant."""

import re

from hypothesis import given
from hypothesis import strategies as st

from letterlock.reply import PEER_CERTIFICATE_REQUIRED, naming


def test_the_mailboxes_follow() -> None:
    """As people write lists."""
    reply = naming(PEER_CERTIFICATE_REQUIRED, ["a@x.org", "b@y.org"])

    assert f"{PEER_CERTIFICATE_REQUIRED.text} a@x.org, b@y.org" == reply.text


@given(st.lists(st.text(max_size=300) | st.from_regex(r"[a-z]{1,60}@[a-z]{1,60}", fullmatch=True)))
def test_a_reply_is_one_short_line_of_ascii(mailboxes: list[str]) -> None:
    """RFC 5321 §4.5.3.1.5; and libmilter has a meaning of its own for `%`."""
    text = naming(PEER_CERTIFICATE_REQUIRED, mailboxes).text

    assert re.fullmatch(r"[ -$&-~]+", text)
    assert 480 >= len(text)


def test_what_does_not_fit_is_counted() -> None:
    """A hundred recipients are no reason to say nothing."""
    mailboxes = [f"someone-{number}@outside.test" for number in range(100)]
    text = naming(PEER_CERTIFICATE_REQUIRED, mailboxes).text

    named = text.count("@outside.test")
    assert text.endswith(f" and {100 - named} more")
    assert named > 5
