"""Whatever was wrapped comes back octet by octet."""

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import messages
from letterlock.header_protection import Form, Inexact, inexact, payload_head
from letterlock.message import HeaderSection, split
from letterlock.own_fields import encrypted_header_field
from letterlock.restore import NotOurs, encrypted_header, restore

FORMS = st.sampled_from(Form)


@given(messages.sections(), messages.bodies(), FORMS)
def test_restoring_is_the_inverse_of_wrapping(
    section: HeaderSection, body: bytes, form: Form
) -> None:
    """For every section that a milter reports, every body and every form."""
    payload = payload_head(section, form, None) + body

    assert (section.octets + section.end + body, True, None) == restore(payload)


@given(messages.files(), FORMS)
def test_any_file_comes_back(octets: bytes, form: Form) -> None:
    """Cut, with LF, without blank line, or no message at all."""
    section, body = split(octets)

    assert octets == restore(payload_head(section, form, None) + body).octets


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize(
    "octets",
    [
        b"".join(b"X-%d: y\r\n" % number for number in range(1_000)) + b"\r\nbody",
        b"Content-Type: " + b"x" * 70_000 + b"\r\n\r\n",
        b"Content-Type: text/plain; " + b"(" * 70_000 + b"\r\n\r\n",
        b'Content-Type: text/plain; x="' + b"\\" * 70_001 + b"\r\n\r\n",
        b"Content-Type: text/plain" + b" " * 70_000 + b"x\r\n\r\n",
        b"Content-Type: text/plain" + b";a=b" * 20_000 + b";hp=cipher\r\n\r\n",
        b"Subject: only a header",
        b"\r\nonly a body",
        b"",
    ],
)
def test_large_and_empty_ones_come_back(octets: bytes, form: Form) -> None:
    """A thousand fields, fields beyond what Postfix takes, nothing at all."""
    section, body = split(octets)

    assert octets == restore(payload_head(section, form, None) + body).octets


@pytest.mark.parametrize("form", Form)
def test_what_was_not_exact_on_arrival_says_so(form: Form) -> None:
    """A field of the size at which Postfix cuts marks the copy as possibly changed."""
    section, _ = split(b"X: " + b"y" * 59_988 + b"\r\n\r\n")

    restored = restore(payload_head(section, form, inexact(section)))

    assert (False, "header-cut") == (restored.exact, restored.why_not)


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"X: " + b"y" * 59_988 + b"\r\n", Inexact.HEADER_CUT),
        (b"X: " + b"y" * 53_000 + b"\r\n", None),
        (b"X-Mailbox-Line: From bob\r\n", Inexact.MBOX_LINE),
        (b"A: b\r\nX-Mailbox-Line: From bob\r\n", None),
        (b"", None),
    ],
)
def test_changes_that_postfix_makes_are_noticed(octets: bytes, expected: Inexact | None) -> None:
    """Those of which there is a trace."""
    assert expected is inexact(split(octets + b"\r\n")[0])


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        messages.PLAIN,
        b"Letterlock-Original: v=2; exact=yes\r\n\r\n",
        b"Letterlock-Original: v=1; exact=maybe\r\n\r\n",
        b"Letterlock-Original: v=1; exact=yes; 0+1=\r\n\r\n",
        b"Letterlock-Original: v=1; exact=yes;\r\n 0+3=\r\n\r\n",
        b"Letterlock-Original: v=1; exact=yes;\r\n 1+1=;\r\n 0+1=\r\n\r\n\r\n",
        b"Letterlock-Original: v=1; exact=yes;\r\n 0+0=A\r\n\r\n",
        b"Letterlock-Original: v=1; exact=yes;\r\n 9999999999+0=\r\n\r\n",
        b"Letterlock-Original: v=1; exact=yes;\r\n 0+0=AAAA\r\n !!\r\n\r\n",
        b"Letterlock-Original: v=1; exact=yes\r\n\tand more\r\n\r\n",
        b"X: y\r\nLetterlock-Original: v=1; exact=yes\r\n\r\n",
        b"Letterlock-Original: v=1; exact=yes\n\nline ends were changed",
    ],
)
def test_what_is_not_ours_is_refused(payload: bytes) -> None:
    """Never a guess: a first field that is not exactly ours raises."""
    with pytest.raises(NotOurs):
        restore(payload)


@given(st.binary(max_size=80))
def test_no_octets_break_it(octets: bytes) -> None:
    """Places that lie anywhere raise NotOurs or give octets, nothing else."""
    with contextlib.suppress(NotOurs):
        restore(b"Letterlock-Original: v=1; exact=yes;\r\n " + octets)


@given(st.binary(max_size=500))
def test_an_encrypted_header_section_is_found_again(encrypted: bytes) -> None:
    """What the field was made of, after any folding with LF by a mail store."""
    field = encrypted_header_field(encrypted)
    section, _ = split((b"Subject: x\r\n" + field.octets + b"\r\n").replace(b"\r\n", b"\n"))

    assert encrypted == encrypted_header(section)


def test_mail_without_an_encrypted_header_section_has_none() -> None:
    """Most mail; and what is not radix-64 is refused."""
    assert encrypted_header(split(messages.PLAIN)[0]) is None
    with pytest.raises(NotOurs):
        encrypted_header(split(b"Letterlock-Header: ?\r\n\r\n")[0])


@pytest.mark.parametrize("form", Form)
def test_the_document_tells_how_to_do_without_us(form: Form) -> None:
    """The lines in docs/format.md restore what was wrapped."""
    document = Path(__file__).parents[3] / "docs" / "format.md"
    script = document.read_text().partition("```python\n")[2].partition("```")[0]
    octets = messages.PLAIN.replace(b"charset", b"hp=cipher; hp=clear; charset")
    section, body = split(octets)

    restored = subprocess.run(
        [sys.executable, "-c", script],
        input=payload_head(section, form, None) + body,
        capture_output=True,
        check=True,
    ).stdout

    assert octets == restored
