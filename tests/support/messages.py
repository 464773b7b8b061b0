"""Messages to test with: all made here, none from anybody's mailbox."""

from hypothesis import strategies as st

from letterlock.message import HeaderField, HeaderSection

PLAIN = (
    b"Received: from mx.sender.example (mx.sender.example [192.0.2.1])\r\n"
    b"\tby mx.example.org with ESMTPS id 4; Fri, 20 Nov 2026 06:00:00 +0000\r\n"
    b"From: =?utf-8?Q?B=C3=B6b?= Sender <bob@sender.example>\r\n"
    b"To: Alice Test <alice@example.org>\r\n"
    b"Subject: canary-subject\r\n"
    b"Date: Fri, 20 Nov 2026 07:00:00 +0100\r\n"
    b"Message-ID: <1@sender.example>\r\n"
    b"MIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: 8bit\r\n"
    b"\r\n"
    b"canary-body \xe2\x9c\x93\r\n"
)

CONTENT_TYPES_AGAINST_US = (
    b'text/plain; hp="cipher"',
    b"text/plain; hp=cipher",
    b"text/plain;hp = cipher",
    b"text/plain; HP=CIPHER; Protected-Headers=v2",
    b"text/plain; hp*=us-ascii''cipher",
    b"text/plain; hp*0=cip; hp*1=her",
    b"text/plain; hp*0*=us-ascii''cip; hp*1*=her",
    b"text/plain;\r\n\thp=\r\n cipher;\r\n hp-legacy-display=1",
    b'text/plain; hp="cipher"; hp="clear"; hp=cipher',
    b'text/plain; (comment; hp=cipher) x=y (and "another; hp=cipher")',
    b'text/plain; x="a\\\\"; hp="cipher"',
    b'text/plain; x="a\\"; hp=cipher; y="',
    b'text/plain; x="unterminated; hp=cipher',
    b'text/plain; "hp"="cipher"',
    b'text/plain; ;;; hp=cipher; =; ="x"',
    b"text/plain hp=cipher",
    b"hp=cipher",
    b"; hp=cipher",
    b"text/plain;hp",
    b"text/plain; protected-headers",
    b"text/plain;hp*",
    b"",
    b"text",
    b"text/plain;",
    b"text/plain\r\n ",
    b"text/plain; charset=utf-8;\r\n \r\n hp=cipher",
    b"(a (nested) comment) text/plain; hp=cipher",
    b"text/plain; (unterminated; hp=cipher",
    b'text/plain; name="\xff\xfe"; hp=cipher',
    b"text/plain; name=\xff\xfe; hp=cipher",
    b"text/plain; a=b\0; hp=cipher",
    b"text/plain; a=b\rhp=cipher",
    b'text/plain; name="=?utf-8?Q?=22=3B_hp=3D=22cipher=22?="',
    b"multipart/mixed; boundary=----=_Part(1); hp=cipher",
    b'multipart/mixed; boundary="b"; protected-headers="v1"',
    b'message/rfc822; protected-headers="v1"; hp="cipher"',
)

NASTY_FIELDS = (
    b"HP-Outer: Subject: [...]",
    b"Letterlock: v=1; by=mx.example.org; fpr=" + b"0" * 40,
    b"Letterlock-Original: v=1; exact=yes;\r\n 0+9999=",
    b"Letterlock-Header: AAAA",
    b"Content-Type: text/html; hp=cipher",
    b"content-TYPE:text/plain",
    b"Content-Type : text/html",
    b"Content-Transfer-Encoding: base64",
    b"MIME-Version: 2.0 (really)",
    b"Subject:\r\n\tempty first line",
    b"Subject: \r\n \r\n blank fold",
    b"Subject:",
    b"Subject: \xe4\xf6\xfc latin1 \xe2\x82\xac",
    b"X-CR: a\rContent-Type: text/html; hp=cipher\r x",
    b"X-NUL: a\0b",
    b"X-Blank : before the colon",
    b"X-Long: " + b"x" * 5_000,
    b"X-Mailbox-Line: From bob Fri Nov 20 2026",
    b"From: <a@x.example>, (c) B <b@x.example>",
    b"To: undisclosed-recipients:;",
    b"Autocrypt: addr=bob@sender.example; keydata=AAAA",
    b"DKIM-Signature: v=1; z=Subject:canary",
    b"ARC-Seal: i=1",
    b"Thread-Topic: canary-subject",
    b"!#$%&'*: odd name",
)

_TYPE_PIECES = (
    *(
        b"text/plain",
        b"hp",
        b"protected-headers",
        b"v1",
        b"cipher",
        b"boundary",
        b"a",
        b"0",
        b"%22",
    ),
    *(b"=", b";", b'"', b"\\", b"(", b")", b"*", b"''", b"/", b",", b"<", b":"),
    *(b" ", b"\t", b"\r\n ", b"\r\n\t", b"\n ", b"\r", b"\0", b"\xff", b"\x0b", b"\x1c", b"\x85"),
    b"=?utf-8?q?=22=3Bhp=3Dcipher?=",
)

_LINE = st.one_of(
    st.text("abc;:=\"'\\()<>@,. \t", max_size=30).map(str.encode),
    st.binary(max_size=20).map(lambda octets: octets.replace(b"\n", b"")),
)
_FOLD = st.sampled_from([b"\r\n ", b"\r\n\t", b"\r\n  "])
_NAMES = st.sampled_from([b"From", b"To", b"Subject", b"Date", b"Content-Type", b"X-A", b"x-a"])


@st.composite
def _values(draw: st.DrawFn) -> bytes:
    lines = draw(st.lists(_LINE, min_size=1, max_size=3))
    # A CR at the end of a line would be part of the line end.
    return draw(_FOLD).join(line.rstrip(b"\r") for line in lines)


def content_types() -> st.SearchStrategy[bytes]:
    """Return bodies of Content-Type fields made of what could make parsers disagree."""
    tail = st.lists(st.sampled_from(_TYPE_PIECES), max_size=14).map(b"".join)
    return st.builds(bytes.__add__, st.sampled_from([b"", b"text/plain;"]), tail)


def header_fields() -> st.SearchStrategy[HeaderField]:
    """Return fields as a milter reports them, and some that it would not."""
    types = st.sampled_from(CONTENT_TYPES_AGAINST_US).map(
        lambda value: HeaderField(b"Content-Type", b" " + value)
    )
    return st.one_of(
        st.builds(HeaderField, _NAMES, _values()),
        st.sampled_from(NASTY_FIELDS).map(lambda octets: HeaderField(*octets.split(b":", 1))),
        types,
    )


def sections() -> st.SearchStrategy[HeaderSection]:
    """Return header sections as a milter reports them."""
    return st.lists(header_fields(), max_size=12).map(lambda fields: HeaderSection(tuple(fields)))


def bodies() -> st.SearchStrategy[bytes]:
    """Return bodies."""
    return st.one_of(
        st.binary(max_size=200),
        st.sampled_from(
            [
                b"",
                b"\r\n",
                b" starts with a blank\r\n",
                b"--=_\r\n\r\n--=_--\r\n",
                b".\r\n..\r\n",
                b"no line end",
                b"x" * 5_000 + b"\0\r\n",
            ]
        ),
    )


def files() -> st.SearchStrategy[bytes]:
    """Return octets of files: messages, cut ones, with LF, and no messages at all."""
    whole = st.builds(lambda s, body: s.octets + s.end + body, sections(), bodies())
    return st.one_of(
        whole,
        whole.map(lambda octets: octets.replace(b"\r\n", b"\n")),
        st.builds(
            lambda octets, cut: octets[: len(octets) * cut // 100], whole, st.integers(0, 99)
        ),
        st.builds(
            lambda s, line: s.octets + line, sections(), st.sampled_from([b"junk", b"\xff: x"])
        ),
        st.binary(max_size=60),
    )
