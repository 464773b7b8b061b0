"""Mail signed with DKIM, rightly and in every wrong way, and what is right to say about it.

Each case has a domain of its own, so that the records of all of them make one zone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from signed_mail import NAMES, NOW, Key, ed25519_key, message, rsa_key, signed

DAY = 86_400
FORMS = ("relaxed/relaxed", "simple/simple", "relaxed/simple", "simple/relaxed", "relaxed", "")

OPENDKIM = "opendkim"
MAIL_DKIM = "Mail::DKIM"
DKIMPY = "dkimpy"


@dataclass(frozen=True)
class Case:
    """A message and what its signatures are worth (RFC 8601 §2.7.1), from the top."""

    name: str
    mail: bytes
    expected: Sequence[str]
    records: Mapping[str, Sequence[str]]
    """TXT records by name."""

    is_unreachable: bool = False
    """The DNS does not answer about any of them."""

    otherwise: Mapping[str, str] = field(default_factory=dict)
    """Why a verifier, by name, judges otherwise; what it says is not looked at."""


# Why others judge otherwise.
ED25519 = "RFC 8463: unknown there"
HISTORIC = "RFC 8301 §3.1: passed there"
SHORT_KEY = "RFC 8301 §3.2: passed there"
SECOND_FROM = "RFC 6376 §8.15: a second From is what people would see; passed there"
FROM = "RFC 6376 §6.1.1: without From there is no signature; passed there"
TESTING = "RFC 6376 §3.6.1: like unsigned mail; passed there, and flagged"
BODY_LENGTH = "RFC 6376 §3.5 (l=): not longer than the body; passed there"
NO_BODY = "RFC 6376 §3.5 (l=): zero is allowed; fails there"
ITSELF = "RFC 6376 §3.5 (h=): the field itself is not meant; fails there"
REQUIRED = "RFC 6376 §3.5: required; passed there"
FUTURE = "RFC 6376 §3.5 (t=): may be ignored; passed there"
KEY_TYPE = "RFC 6376 §6.1.2: k= and a= must agree; passed there"
KEY_LIMITS = "RFC 6376 §3.6.1: h=, s=, t= of the record; not looked at there"
BARE_KEY = "RFC 6376 §3.6.1 against its erratum 3017: both are in use; fails there"
ONE_KEY = "RFC 6376 §3.6.2.2: there must be one; the first is taken there"
QUERIES = "RFC 6376 §3.5 (q=): a list; fails there"
B_TAGS = "RFC 6376 §3.7: only b= itself is emptied; fails there"
OBSOLETE = "RFC 5322 §4.5.8: blanks before the colon; no message there"
NO_DNS = "has the records in a file"


def corpus() -> Iterator[Case]:
    """Yield all cases."""
    for number, case in enumerate(_cases()):
        yield _moved(case, f"c{number}.example.org")


@dataclass(frozen=True)
class _Draft:
    name: str
    expected: Sequence[str]
    key: Key = field(default_factory=rsa_key)
    record: str | None = ""
    """Empty: the usual one; None: there is none."""

    more_records: Sequence[str] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b"Hello  Bob,\r\n\r\nall is well. \r\n\r\n\r\n"
    form: str = "{}"
    changed: Sequence[tuple[bytes, bytes]] = ()
    """Texts in the signed message, and what they become."""

    appended: bytes = b""
    prepended: bytes = b""
    is_unreachable: bool = False
    otherwise: Mapping[str, str] = field(default_factory=dict)


def _moved(draft: _Draft, domain: str) -> Case:
    key = replace(draft.key, domain=domain)
    use = {
        name: value.replace("{d}", domain).replace("{D}", domain.upper())
        for name, value in draft.tags.items()
    }
    mail = signed(message(draft.body), key, draft.form, **use)
    for old, new in draft.changed:
        assert old in mail, (draft.name, old)
        mail = mail.replace(old, new, 1)
    mail = draft.prepended + mail + draft.appended
    records = [key.record if draft.record == "" else draft.record, *draft.more_records]
    published = {key.name: [r.replace("{p}", key.p) for r in records if r is not None]}
    return Case(
        draft.name,
        mail,
        draft.expected,
        {name: found for name, found in published.items() if found},
        draft.is_unreachable,
        draft.otherwise,
    )


def _cases() -> Iterator[_Draft]:
    yield from _forms()
    yield from _bodies()
    yield from _lengths()
    yield from _header_changes()
    yield from _tags()
    yield from _keys()


def _forms() -> Iterator[_Draft]:
    keys = {"rsa": rsa_key(), "rsa 1024": rsa_key(1024), "ed25519": ed25519_key()}
    for kind, key in keys.items():
        for c in FORMS:
            for draft, passes in _changes(c):
                unknown = passes and kind == "ed25519"
                yield replace(
                    draft,
                    name=f"{kind}, c={c or '(none)'}: {draft.name}",
                    expected=["pass" if passes else "fail"],
                    key=key,
                    tags={"c": c},
                    otherwise={MAIL_DKIM: ED25519} if unknown else {},
                )


def _changes(c: str) -> Iterator[tuple[_Draft, bool]]:
    """Yield what may happen on the way, and whether a signature survives it."""
    header, body = c.startswith("relaxed"), c.endswith("/relaxed")
    refolded = b"A  subject that is\r\n  folded ", b"A subject\r\n\tthat is folded"
    changes: dict[str, tuple[tuple[bytes, bytes], bool]] = {
        "a word of the body": ((b"well", b"hell"), False),
        "blanks in the body": ((b"Hello  ", b"Hello\t"), body),
        "blanks at a line's end": ((b"well. ", b"well."), body),
        "a word of a field": ((b"subject that", b"object that"), False),
        "a field folded otherwise": (refolded, header),
        "a field named otherwise": ((b"Subject:", b"SUBJECT:"), header),
    }
    yield _Draft("nothing", ()), True
    yield _Draft("empty lines at the end", (), appended=b"\r\n\r\n\r\n"), True
    yield _Draft("more at the end", (), appended=b"more\r\n"), False
    for name, (change, passes) in changes.items():
        yield _Draft(name, (), changed=[change]), passes


def _bodies() -> Iterator[_Draft]:
    bodies = {
        "empty": b"",
        "only line ends": b"\r\n\r\n\r\n",
        "only blanks": b"  \t\r\n \r\n",
        "8-bit": "grüße, 世界\r\n".encode() + b"\xff\xfe\r\n",
        "long lines": b"x" * 5000 + b" \t \r\n" + b"y" * 998 + b"\r\n",
        "dots": b".\r\n..\r\n.x\r\n",
        "blanks everywhere": b" a \t b\t\r\n\t\r\n  c\r\n \r\n",
        "long": b"All work and no play.  \r\n" * 5000,
    }
    for c in FORMS[:4]:
        for name, body in bodies.items():
            yield _Draft(f"body {name}, c={c}", ["pass"], body=body, tags={"c": c})


def _lengths() -> Iterator[_Draft]:
    body = b"twelve here\r\n"
    for c in ("relaxed/relaxed", "simple/simple"):
        tags = {"c": c, "l": "13"}
        yield _Draft(f"l= all of it, c={c}", ["pass"], body=body, tags=tags)
        yield _Draft(
            f"l= and more after it, c={c}", ["pass"], body=body, tags=tags, appended=b"more\r\n"
        )
        yield _Draft(
            f"l= and a change before it, c={c}",
            ["fail"],
            body=body,
            tags=tags,
            changed=[(b"twelve", b"eleven")],
        )
        yield _Draft(
            f"l=0, c={c}",
            ["pass"],
            body=body,
            tags={"c": c, "l": "0"},
            otherwise={MAIL_DKIM: NO_BODY},
        )
        yield _Draft(
            f"l= more than there is, c={c}",
            ["fail"],
            body=body,
            tags={"c": c, "l": "14"},
            otherwise={MAIL_DKIM: BODY_LENGTH, DKIMPY: BODY_LENGTH},
        )
    yield _Draft("l= no number", ["neutral"], tags={"l": "12x"})
    yield _Draft("l= negative", ["neutral"], tags={"l": "-1"})


def _header_changes() -> Iterator[_Draft]:
    second = b"Subject: another\r\n"
    yield _Draft("a field more", ["pass"], prepended=b"X-New: x\r\n")
    yield _Draft("a field signed is gone", ["fail"], changed=[(b"To: bob@example.net\r\n", b"")])
    yield _Draft("a second Subject above", ["pass"], prepended=second)
    yield _Draft(
        "a second Subject below", ["fail"], changed=[(b"MIME-Version", second + b"MIME-Version")]
    )
    yield _Draft(
        "a second Subject above, signed for",
        ["fail"],
        tags={"h": NAMES + ":subject"},
        prepended=second,
    )
    yield _Draft("a field signed that is not there", ["pass"], tags={"h": NAMES + ":cc:bcc"})
    yield _Draft(
        "a field signed that was not there",
        ["fail"],
        tags={"h": NAMES + ":cc"},
        prepended=b"Cc: x@example.net\r\n",
    )
    forged = b"From: Mallory <mallory@example.net>\r\n"
    yield _Draft(
        "a second From above",
        ["fail"],
        prepended=forged,
        otherwise={MAIL_DKIM: SECOND_FROM, OPENDKIM: SECOND_FROM},
    )
    yield _Draft("a second From below", ["fail"], changed=[(b"To:", forged + b"To:")])
    yield _Draft(
        "a second From, signed for", ["fail"], tags={"h": "from:" + NAMES}, prepended=forged
    )
    yield _Draft(
        "h= in capitals, with blanks", ["pass"], tags={"h": "From : To :\r\n\tSubject:Date"}
    )
    yield _Draft(
        "h= itself included",
        ["pass"],
        tags={"h": NAMES + ":dkim-signature"},
        otherwise={MAIL_DKIM: ITSELF, OPENDKIM: ITSELF, DKIMPY: ITSELF},
    )
    yield _Draft(
        "a field with blanks before its colon",
        ["pass"],
        changed=[(b"Subject:", b"Subject :")],
        otherwise={DKIMPY: OBSOLETE},
    )
    yield _Draft("h= Received", ["pass"], tags={"h": NAMES + ":received"})
    yield _Draft(
        "h= Received, and another hop",
        ["pass"],
        tags={"h": NAMES + ":received"},
        prepended=b"Received: from c.example.org by d.example.org; x\r\n",
    )


def _tags() -> Iterator[_Draft]:
    yield _Draft("v=2", ["permerror"], tags={"v": "2"})
    yield _Draft("no v=", ["permerror"], tags={"v": ""}, otherwise={MAIL_DKIM: REQUIRED})
    for tag in ("a", "d", "h", "s"):
        changed = [(f"{tag}=".encode(), f"x{tag}=".encode())]
        yield _Draft(f"no {tag}=", ["permerror"], changed=changed)
    yield _Draft("no bh=", ["permerror"], changed=[(b"bh=", b"xx=")])
    yield _Draft("no b=", ["permerror"], changed=[(b"\tb=", b"\tbb=")])
    yield _Draft("b= empty", ["permerror"], tags={"b": " "})
    yield _Draft("b= not base64", ["neutral"], tags={"b": "!!!"})
    yield _Draft("b= somebody's", ["fail"], tags={"b": "A" * 344})
    yield _Draft("b= too short", ["fail"], tags={"b": "AAAA"})
    yield _Draft("bh= somebody's", ["fail"], tags={"bh": "A" * 43 + "="})
    yield _Draft("a tag twice", ["neutral"], tags={"x1": "y"}, changed=[(b"x1=", b"v=")])
    yield _Draft("a tag nobody knows", ["pass"], tags={"foo": "bar"})
    yield _Draft("z=", ["pass"], tags={"z": "From:Alice=20<alice@example.org>|To:x"})
    yield _Draft("b= within z=", ["pass"], tags={"z": "Subject: b=xyz"}, otherwise={DKIMPY: B_TAGS})
    yield _Draft("no tag list", ["neutral"], changed=[(b"v=1;", b"v 1;")])
    yield _Draft("a semicolon at the end", ["pass"], form="{};")
    yield _Draft("two semicolons", ["neutral"], changed=[(b"v=1;", b"v=1;;")])
    yield _Draft("folds and tabs", ["pass"], form="\r\n\t{}")
    yield _Draft(
        "nothing but tags", ["pass"], changed=[(b"DKIM-Signature: v", b"DKIM-Signature:v")]
    )
    yield _Draft(
        "a=rsa-sha1",
        ["permerror"],
        tags={"a": "rsa-sha1"},
        otherwise={MAIL_DKIM: HISTORIC, OPENDKIM: HISTORIC, DKIMPY: HISTORIC},
    )
    yield _Draft("a=rsa-sha512", ["neutral"], tags={"a": "rsa-sha512"})
    yield _Draft(
        "a= for another type of key",
        ["permerror"],
        tags={"a": "ed25519-sha256"},
        otherwise={DKIMPY: KEY_TYPE},
    )
    yield _Draft("c= unknown", ["neutral"], changed=[(b"c=relaxed", b"c=relaxing")])
    yield _Draft("q=dns/txt", ["pass"], tags={"q": "dns/txt"})
    yield _Draft(
        "q= among others",
        ["pass"],
        tags={"q": "http/well-known:dns/txt"},
        otherwise={DKIMPY: QUERIES},
    )
    yield _Draft("q= unknown", ["neutral"], tags={"q": "http/well-known"})
    tomorrow = str(NOW + DAY)
    yield _Draft("t= tomorrow", ["neutral"], tags={"t": tomorrow}, otherwise={MAIL_DKIM: FUTURE})
    yield _Draft("t= long ago", ["pass"], tags={"t": str(NOW - 1000 * DAY)})
    yield _Draft(
        "t= no number",
        ["neutral"],
        tags={"t": "yesterday"},
        otherwise={MAIL_DKIM: FUTURE},
    )
    yield _Draft("x= yesterday", ["permerror"], tags={"t": str(NOW - 2 * DAY), "x": str(NOW - DAY)})
    yield _Draft("x= tomorrow", ["pass"], tags={"x": str(NOW + DAY)})
    yield _Draft("x= before t=", ["permerror"], tags={"t": str(NOW), "x": str(NOW - 60)})
    yield _Draft("i=", ["pass"], tags={"i": "@{d}"})
    yield _Draft("i= somebody", ["pass"], tags={"i": "alice@{d}"})
    yield _Draft("i= in a subdomain", ["pass"], tags={"i": "alice@mail.{d}"})
    yield _Draft("i= in capitals", ["pass"], tags={"i": "alice@MAIL.{d}"})
    yield _Draft("i= elsewhere", ["permerror"], tags={"i": "alice@example.net"})
    yield _Draft("i= elsewhere, alike", ["permerror"], tags={"i": "alice@evil{d}"})
    yield _Draft("i= the parent", ["permerror"], tags={"i": "alice@example.org"})
    yield _Draft(
        "h= without From",
        ["permerror"],
        tags={"h": "to:subject"},
        otherwise={MAIL_DKIM: FROM, DKIMPY: FROM},
    )
    yield _Draft("d= in capitals", ["pass"], tags={"d": "{D}"})


def _keys() -> Iterator[_Draft]:
    ed = ed25519_key()
    yield _Draft("no record", ["permerror"], record=None)
    yield _Draft("another record", ["permerror"], record="v=spf1 -all")
    yield _Draft("an empty record", ["permerror"], record=" ")
    yield _Draft("somebody's key", ["fail"], record=rsa_key(2048, "other").record)
    yield _Draft("revoked", ["permerror"], record="v=DKIM1; k=rsa; p=")
    yield _Draft("p= not base64", ["permerror"], record="v=DKIM1; p=!!!!")
    yield _Draft("p= no key", ["permerror"], record="v=DKIM1; p=QUJD")
    yield _Draft("p= folded", ["pass"], record="v=DKIM1; p={p}".replace("{p}", " {p} "))
    yield _Draft(
        "p= a bare RSAPublicKey",
        ["pass"],
        record=f"v=DKIM1; p={rsa_key().bare_p}",
        otherwise={MAIL_DKIM: BARE_KEY, OPENDKIM: BARE_KEY},
    )
    yield _Draft("ed25519, p= too long", ["permerror"], ed, record=f"k=ed25519; p={'A' * 44}")
    yield _Draft("no k=", ["pass"], record="v=DKIM1; p={p}")
    yield _Draft("only p=", ["pass"], record="p={p}")
    mixed = {OPENDKIM: KEY_TYPE}
    yield _Draft("k= another", ["permerror"], record="v=DKIM1; k=ed25519; p={p}", otherwise=mixed)
    yield _Draft("k= unknown", ["permerror"], record="v=DKIM1; k=foo; p={p}")
    yield _Draft("ed25519, k= missing", ["permerror"], ed, record="v=DKIM1; p={p}", otherwise=mixed)
    yield _Draft("record v=DKIM2", ["permerror"], record="v=DKIM2; p={p}")
    yield _Draft("record v= not first", ["pass"], record="p={p}; v=DKIM1")
    yield _Draft("record h=sha256", ["pass"], record="v=DKIM1; h=sha256; p={p}")
    yield _Draft("record h= both", ["pass"], record="v=DKIM1; h=sha1:sha256; p={p}")
    unlimited = {DKIMPY: KEY_LIMITS}
    yield _Draft(
        "record h=sha1", ["permerror"], record="v=DKIM1; h=sha1; p={p}", otherwise=unlimited
    )
    yield _Draft("record s=email", ["pass"], record="v=DKIM1; s=email; p={p}")
    yield _Draft("record s=*", ["pass"], record="v=DKIM1; s=*; p={p}")
    yield _Draft(
        "record s= several", ["pass"], record="v=DKIM1; s=foo:email; p={p}", otherwise=unlimited
    )
    yield _Draft("record s= another", ["permerror"], record="v=DKIM1; s=foo; p={p}")
    yield _Draft("record s=tlsrpt", ["permerror"], record="v=DKIM1; s=tlsrpt; p={p}")
    yield _Draft("record n=, and what nobody knows", ["pass"], record="v=DKIM1; n=x; foo=y; p={p};")
    exact = "v=DKIM1; t=s; p={p}"
    yield _Draft("record t=s", ["pass"], record=exact)
    yield _Draft("record t=s, i= the same", ["pass"], record=exact, tags={"i": "a@{d}"})
    yield _Draft(
        "record t=s, i= in a subdomain",
        ["permerror"],
        record=exact,
        tags={"i": "a@m.{d}"},
        otherwise=unlimited,
    )
    testing = {MAIL_DKIM: TESTING, OPENDKIM: TESTING, DKIMPY: TESTING}
    yield _Draft("record t=y", ["neutral"], record="v=DKIM1; t=y; p={p}", otherwise=testing)
    yield _Draft(
        "record t=y, body changed",
        ["neutral"],
        record="v=DKIM1; t=y:s; p={p}",
        changed=[(b"well", b"hell")],
    )
    for bits in (512, 768):
        yield _Draft(f"{bits} bits", ["policy"], rsa_key(bits), otherwise={MAIL_DKIM: SHORT_KEY})
    yield _Draft("4096 bits", ["pass"], rsa_key(4096))
    yield _Draft(
        "two records",
        ["permerror"],
        more_records=[rsa_key(2048, "other").record],
        otherwise={MAIL_DKIM: ONE_KEY, OPENDKIM: ONE_KEY, DKIMPY: ONE_KEY},
    )
    yield _Draft("another record beside it", ["pass"], more_records=["v=spf1 -all"], otherwise={})
    yield _Draft(
        "the DNS is down", ["temperror"], is_unreachable=True, otherwise={OPENDKIM: NO_DNS}
    )
