"""The Cryptographic Payload, judged by a parser that is not ours."""

import email
import email.policy
from email.message import Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

import messages
from keyservice.client import HeaderPolicy
from letterlock.header_protection import Form, Recorded, payload_head
from letterlock.message import HeaderField, HeaderSection, split
from letterlock.restore import restore

POLICIES = (email.policy.compat32, email.policy.default)
WRAPPING = (Form.ROOT, Form.RFC822)


def _parsed(octets: bytes, form: Form) -> Message:
    section, body = split(octets)
    return email.message_from_bytes(payload_head(section, form, None) + body)


def _parameter(message: Message, name: str) -> list[object]:
    return [value for key, value in message.get_params([]) if key.lower() == name]


@pytest.mark.parametrize("form", WRAPPING)
@given(section=messages.sections(), body=messages.bodies())
def test_only_our_parameters_take_effect(form: Form, section: HeaderSection, body: bytes) -> None:
    """One Content-Type, one `hp` and one `protected-headers`, whatever the sender wrote."""
    payload = payload_head(section, form, None) + body
    root = email.message_from_bytes(payload)

    assert 1 == len(root.get_all("Content-Type", []))
    assert ["clear"] == _parameter(root, "hp")
    assert ["v1"] == _parameter(root, "protected-headers")
    assert [] == _parameter(root, "hp-legacy-display")


@pytest.mark.parametrize("policy", POLICIES, ids=["compat32", "default"])
@pytest.mark.parametrize("value", messages.CONTENT_TYPES_AGAINST_US)
def test_no_content_type_speaks_for_us(value: bytes, policy: email.policy.Policy) -> None:
    """Forged, repeated, encoded, commented, unterminated, garbled: never `cipher`."""
    section = HeaderSection((HeaderField(b"Content-Type", b" " + value),))

    root = email.message_from_bytes(payload_head(section, Form.ROOT, None), policy=policy)

    assert "clear" == root.get_param("hp")
    assert "v1" == root.get_param("protected-headers")
    assert root.get_param("hp-legacy-display") is None


@pytest.mark.parametrize("policy", POLICIES, ids=["compat32", "default"])
@given(value=messages.content_types())
def test_no_grammar_speaks_for_us(value: bytes, policy: email.policy.Policy) -> None:
    """Generated Content-Type fields: each of our parameters once, and Python's parsers agree."""
    section, _ = split(b"A: b\r\nContent-Type: " + value.rstrip(b"\r") + b"\r\nC: d\r\n\r\n")

    root = email.message_from_bytes(payload_head(section, Form.ROOT, None), policy=policy)

    names = [name.lower().partition("*")[0] for name, _ in root.get_params()]
    assert (1, 1) == (names.count("hp"), names.count("protected-headers"))
    assert ("clear", "v1") == (root.get_param("hp"), root.get_param("protected-headers"))


@given(messages.sections())
def test_the_original_fields_stand_in_order(section: HeaderSection) -> None:
    """Names as they came; behind our own field and what a MIME entity needs."""
    root = email.message_from_bytes(payload_head(section, Form.ROOT, None))

    names = [name.lower().encode() for name in root if name.lower() != "content-type"]
    expected = [field.key for field in section if field.key != b"content-type"]
    added = (
        [] if b"mime-version" in expected or section.named(b"content-type") else [b"mime-version"]
    )
    assert [b"letterlock-original", *added, *expected] == names


def test_an_ordinary_message_is_kept_octet_by_octet() -> None:
    """Nothing but an insertion: our two parameters."""
    section, _ = split(messages.PLAIN)
    head = payload_head(section, Form.ROOT, None)

    ours = b';\r\n protected-headers="v1"; hp="clear"'
    at = section.octets.index(b"; charset")
    expected = b"Letterlock-Original: v=1; exact=yes;\r\n %d+%d=\r\n" % (at, len(ours))
    expected += section.octets[:at] + ours + section.octets[at:] + b"\r\n"
    assert expected == head


def test_a_message_without_mime_becomes_an_entity() -> None:
    """RFC 2045 §5.2: text/plain; us-ascii is what it was."""
    root = _parsed(b"Subject: x\r\n\r\nbody\r\n", Form.ROOT)

    assert ("1.0", "text/plain", "us-ascii") == (
        root["MIME-Version"],
        root.get_content_type(),
        root.get_content_charset(),
    )
    assert "body\r\n" == root.get_payload()


@pytest.mark.parametrize(
    ("value", "media_type", "parameters"),
    [
        (b"text/html; charset=UTF-8; hp=cipher", "text/html", {"charset": "UTF-8"}),
        (b"multipart/mixed; boundary=a=b; hp=x", "multipart/mixed", {"boundary": "a=b"}),
        (b'text/plain; name="a; b"; hp=x', "text/plain", {"name": "a; b"}),
        (b"text/plain; name=a b.pdf; hp=x", "text/plain", {"name": "a b.pdf"}),
        (b"text/plain; charset=utf-8 (hp=x)", "text/plain", {"charset": "utf-8"}),
        (b"multipart/mixed; boundary=a; boundary=b; hp=x", "multipart/mixed", {"boundary": "a"}),
        (b"text/html charset=utf-8", "text/html", {}),
        (b"text; charset=utf-8", "text/plain", {"charset": "utf-8"}),
        (b"application/pdf; name*=utf-8''%e2%82%ac; hp=x", "application/pdf", {"name": "€"}),
    ],
)
def test_a_rewritten_content_type_keeps_its_meaning(
    value: bytes, media_type: str, parameters: dict[str, str]
) -> None:
    """What is not ours to set survives being written anew."""
    root = _parsed(b"Content-Type: " + value + b"\r\n\r\n", Form.ROOT)

    found = {k: v for k, v in root.get_params([])[1:] if k not in ("hp", "protected-headers")}
    found = {k: email.utils.collapse_rfc2231_value(v) for k, v in found.items()}
    assert (media_type, parameters) == (root.get_content_type(), found)


@given(messages.sections(), messages.bodies())
def test_the_strictest_form_holds_the_original_verbatim(
    section: HeaderSection, body: bytes
) -> None:
    """message/rfc822 below the repeated Non-Structural fields, without HP-Outer."""
    original = section.octets + section.end + body
    payload = payload_head(section, Form.RFC822, None) + body
    root = email.message_from_bytes(payload)

    assert payload.endswith(b"\r\n\r\n" + original)
    assert "message/rfc822" == root.get_content_type()
    assert "HP-Outer" not in root
    repeated = [
        field.key
        for field in section
        if not field.key.startswith((b"content-", b"mime-version", b"hp-outer"))
    ]
    structural = [b"mime-version", b"content-type", b"content-transfer-encoding"]
    names = [name.lower().encode() for name in root]
    assert [b"letterlock-original", *repeated, *structural] == names


def test_a_senders_restoration_field_is_only_text() -> None:
    """Ours comes first; theirs is part of the original."""
    octets = b"Letterlock-Original: v=1; exact=yes;\r\n 0+5=\r\nSubject: x\r\n\r\nbody"
    section, body = split(octets)

    assert octets == restore(payload_head(section, Form.ROOT, None) + body).octets


def test_lines_of_our_field_stay_short() -> None:
    """RFC 5322 §2.1.1: 78 characters, however much was replaced."""
    section, _ = split(b"Content-Type: " + b"(" * 5_000 + b"\r\n\r\n")
    head = payload_head(section, Form.ROOT, None)

    assert 78 >= max(len(line) for line in head.splitlines())


def test_header_sections_are_repeated_only_where_nothing_stays_outside() -> None:
    """hcp_all needs message/rfc822 for clients to show the sender."""
    forms = [Form.of(policy) for policy in HeaderPolicy]

    assert [Form.ROOT, Form.ROOT, Form.RFC822] == forms


VERDICTS = HeaderField(b"Authentication-Results", b" mx.example.org;\r\n dkim=pass")
FORGED = b"Authentication-Results: mx.example.org; spf=pass\r\n"


@pytest.mark.parametrize("form", Form)
def test_what_we_know_comes_first_and_what_pretends_to_is_gone(form: Form) -> None:
    """The owner reads one such field of ours, and it is ours."""
    octets = b"Received: by x\r\n" + FORGED + b"From: a@x.org\r\nContent-Type: text/plain\r\n\r\n"
    section, body = split(octets)
    head = payload_head(section, form, None, Recorded(VERDICTS, frozenset({1})))
    root = email.message_from_bytes(head + body)

    assert ["Letterlock-Original", "Authentication-Results"] == list(root)[:2]
    assert 1 == list(root).count("Authentication-Results")
    assert "dkim=pass" in root["Authentication-Results"]


@given(messages.files(), st.sampled_from(Form), st.frozensets(st.integers(0, 20)))
def test_the_original_comes_back_whatever_we_recorded(
    octets: bytes, form: Form, places: frozenset[int]
) -> None:
    """Ours is taken out again, theirs is put back."""
    section, body = split(octets)
    forged = frozenset(at for at in places if at < len(section.fields))
    head = payload_head(section, form, None, Recorded(VERDICTS, forged))

    assert octets == restore(head + body).octets
