"""Header Confidentiality Policies as RFC 9788 §3.2 defines them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyservice.client import HeaderPolicy
from letterlock.header_policy import (
    hcp_baseline,
    hcp_shy,
    is_keepable,
    must_go,
    policy_function,
)

VALUES = st.one_of(
    st.binary(max_size=60), st.text('ab<>@,."\\() \t;:[]', max_size=40).map(str.encode)
)
NAMES = st.sampled_from([b"from", b"to", b"cc", b"date", b"subject", b"x-y", b"comments"])


@pytest.mark.parametrize("policy", [hcp_baseline, hcp_shy])
@pytest.mark.parametrize(
    ("name", "expected"),
    [(b"subject", b"[...]"), (b"comments", None), (b"keywords", None), (b"x-other", b"value")],
)
def test_both_hide_what_the_baseline_hides(policy, name: bytes, expected: bytes | None) -> None:
    """RFC 9788 §3.2.1."""
    assert expected == policy(name, b"value")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        (b"from", b"Bob <bob@example.org>", b"bob@example.org"),
        (b"from", b'"Bob, (the)" <bob@example.org>', b"bob@example.org"),
        (b"from", b"=?utf-8?Q?B=C3=B6b?= <bob@example.org>", b"bob@example.org"),
        (b"from", b"B\xf6b X. <bob@example.org>", b"bob@example.org"),
        (b"from", b"bob@example.org (Bob)", b"bob@example.org"),
        (b"from", b'"b b"@example.org', b'"b b"@example.org'),
        (b"from", b"Bob <bob@[192.0.2.1]>", b"bob@[192.0.2.1]"),
        (b"from", b"A <a@x.org>, B <b@x.org>", b"A <a@x.org>, B <b@x.org>"),
        (b"from", b"Bob", b"Bob"),
        (b"from", b"Bob <>", b"Bob <>"),
        (b"from", b"B\xf6b <b\xf6b@example.org>", b"B\xf6b <b\xf6b@example.org>"),
        (b"to", b"A <a@x.org>, (c, d) B <b@x.org>", b"a@x.org, b@x.org"),
        (b"cc", b"A <a@x.org>,,B <b@x.org>", b"A <a@x.org>,,B <b@x.org>"),
        (b"to", b"undisclosed-recipients:;", b"undisclosed-recipients:;"),
        (b"to", b"Group: A <a@x.org>;", b"Group: A <a@x.org>;"),
        (b"to", b"A <@relay:a@x.org>", b"A <@relay:a@x.org>"),
        (b"to", b"A <a@x.org> (unterminated", b"A <a@x.org> (unterminated"),
        (b"reply-to", b"Bob <bob@example.org>", b"Bob <bob@example.org>"),
    ],
)
def test_shy_shows_no_display_names(name: bytes, value: bytes, expected: bytes) -> None:
    """RFC 9788 §3.2.2: From, To and Cc, if they are what they should be."""
    assert expected == hcp_shy(name, value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"Fri, 20 Nov 2026 07:00:00 +0100", b"Fri, 20 Nov 2026 06:00:00 +0000"),
        (b"20 Nov 2026 00:30 +0100 (CET)", b"Thu, 19 Nov 2026 23:30:00 +0000"),
        (b"Fri, 20 Nov 2026 07:00:00 -0000", b"Fri, 20 Nov 2026 07:00:00 +0000"),
        (b"Fri, 20 Nov 2026 07:00:00 EST", b"Fri, 20 Nov 2026 12:00:00 +0000"),
        (b"Fri, 20 Nov 2026 07:00:60 +0100", b"Fri, 20 Nov 2026 07:00:60 +0100"),
        (b"Fri, 32 Nov 2026 07:00:00 +0100", b"Fri, 32 Nov 2026 07:00:00 +0100"),
        (b"Sat, 01 Jan 0001 00:00:00 +0100", b"Sat, 01 Jan 0001 00:00:00 +0100"),
        (b"Fri, 20 Nov 2026 07:00:00 +9999", b"Fri, 20 Nov 2026 07:00:00 +9999"),
        (b"2026-11-20T07:00:00+01:00", b"2026-11-20T07:00:00+01:00"),
        (b"tomorrow", b"tomorrow"),
    ],
)
def test_shy_shows_no_time_zone(value: bytes, expected: bytes) -> None:
    """RFC 9788 §3.2.2: the same instant in UTC, if it is a date-time."""
    assert expected == hcp_shy(b"date", value)


@given(st.sampled_from(HeaderPolicy), NAMES, VALUES)
def test_a_changed_value_is_printable(policy: HeaderPolicy, name: bytes, value: bytes) -> None:
    """Whatever goes in: unchanged, removed, or ASCII without line ends."""
    shown = policy_function(policy)(name, value)

    assert shown in (None, value) or all(0x20 <= octet <= 0x7E for octet in shown)


@pytest.mark.parametrize(
    "name",
    [
        b"dkim-signature",
        b"arc-seal",
        b"arc-x",
        b"autocrypt",
        b"hp-outer",
        b"letterlock",
        b"letterlock-x",
    ],
)
def test_some_fields_always_go(name: bytes) -> None:
    """Signatures that would fail, certificates, and what only we may write."""
    assert must_go(name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("X-Spam-Flag", True),
        ("Subject", True),
        ("Content-Type", False),
        ("MIME-Version", False),
        ("DKIM-Signature", False),
        ("Letterlock-Header", False),
        ("", False),
        ("X Y", False),
        ("X:", False),
        ("X-\u00fc", False),
    ],
)
def test_an_operator_may_keep_what_is_harmless(name: str, expected: bool) -> None:
    """Neither Structural fields nor those that always go."""
    assert expected is is_keepable(name)
