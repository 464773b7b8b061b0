"""Our verdicts about mail are those of verifiers that are not ours: DKIM, ARC, SPF.

Put to dkimpy, Mail::DKIM, opendkim and Mail::SPF; ours go through the whole authenticator and a
real resolver. Where others judge otherwise, the corpus says why they are wrong, or free to.
"""

import re
import subprocess
import time
from pathlib import Path

import dkim
import pytest

import signed_corpus
from dkim_verifiers import OpenDKIM
from dns_peer import DnsPeer, Way, txt
from letterlock.authentication import Authenticator
from letterlock.config import AuthenticationSection
from letterlock.dns import Resolver
from letterlock.message import split
from letterlock.smtp_client import SMTPClient
from opendkim_milter import OpenDKIMSigner, handed_in
from signed_corpus import DKIMPY, MAIL_DKIM, OPENDKIM
from signed_mail import NOW, message, rsa_key, sealed

SUPPORT = Path(signed_corpus.__file__).parent
CASES = {case.name: case for case in signed_corpus.corpus()}


def ours(mail, dns, client=None, path="", clock=lambda: NOW):
    """Return our results as pairs of method and result.

    `clock`: another one for mail that was signed just now, long after this file was read.
    """
    section, body = split(mail)
    authenticator = Authenticator(
        "mx.example.test", AuthenticationSection(), Resolver(dns.address), clock
    )
    inquiry = authenticator.begin(client or SMTPClient(), path, section)
    inquiry.write(body)
    return re.findall(r"\b(dkim|arc|spf)=(\w+)", inquiry.close().field.value.decode())


def perl(script, dns, *arguments, lines=()):
    """Return what the script in `tests/support` prints."""
    return subprocess.run(
        ["perl", str(SUPPORT / script), str(dns.port), *arguments],
        input="".join(f"{line}\n" for line in lines),
        capture_output=True,
        text=True,
        check=True,
        timeout=200,
    ).stdout.splitlines()


def told_by_mail_dkim(mails, dns, directory):
    """Return for each mail the results of its ARC chain and of its signatures."""
    paths = []
    for number, mail in enumerate(mails):
        paths.append(directory / f"{number}.eml")
        paths[-1].write_bytes(mail)
    return [line.split()[1:] for line in perl("mail_dkim.pl", dns, *map(str, paths))]


@pytest.fixture(scope="module")
def dns():
    """All records of the corpus."""
    records = {name: r for case in CASES.values() for name, r in case.records.items()}
    with DnsPeer({name: {"TXT": txt(*texts)} for name, texts in records.items()}) as peer:
        for case in CASES.values():
            if case.is_unreachable:
                peer.ways.update(dict.fromkeys(case.records, Way.SERVFAIL))
        yield peer


@pytest.fixture(scope="module")
def told(dns, tmp_path_factory):
    """What others say of the first signature of each case, by verifier."""
    mails = [case.mail for case in CASES.values()]
    found = told_by_mail_dkim(mails, dns, tmp_path_factory.mktemp("corpus"))
    firsts = [(results[1:] or [""])[0] for results in found]
    return {
        MAIL_DKIM: dict(zip(CASES, firsts, strict=True)),
        DKIMPY: {name: _told_by_dkimpy(case) for name, case in CASES.items()},
        OPENDKIM: _told_by_opendkim(),
    }


def _told_by_dkimpy(case):
    def text(name, timeout=5):
        if case.is_unreachable:
            raise dkim.DnsTimeoutError("down")
        found = case.records.get(name.decode().rstrip(".").lower())
        return found[0].encode() if found else None

    try:
        return "pass" if dkim.DKIM(case.mail).verify(dnsfunc=text) else "fail"
    except dkim.DKIMException as error:
        return str(error)


def _told_by_opendkim():
    records = {name: r[0] for case in CASES.values() for name, r in case.records.items()}
    told = {}
    with OpenDKIM(records) as verifier:
        for name, case in CASES.items():
            ended = handed_in(verifier.socket, case.mail)
            fields = [v for _, n, v in ended.insertions if n == b"Authentication-Results"]
            # It lets some messages through without a word.
            results = re.findall(rb"dkim=(\w+)", b"".join(fields))
            told[name] = results[0].decode() if results else ""
    return told


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_signature_passes_where_it_does_with_others(case, dns, told):
    """All algorithms and canonicalizations, broken in each possible way."""
    mine = [result for method, result in ours(case.mail, dns) if method == "dkim"]

    assert [*case.expected] == mine
    for verifier, results in told.items():
        if verifier not in case.otherwise:
            assert (mine[0] == "pass") is (results[case.name] == "pass"), (
                verifier,
                results[case.name],
            )


def test_the_reasons_why_others_judge_otherwise_are_needed(told):
    """A table of excuses must not outlive what it excuses."""
    stale = [
        (case.name, verifier)
        for case in CASES.values()
        for verifier in case.otherwise
        if (told[verifier][case.name] == "pass") is (case.expected[0] == "pass")
    ]

    assert [] == stale


@pytest.mark.parametrize("form", signed_corpus.FORMS[:4])
@pytest.mark.parametrize("key_type", ["rsa", "ed25519"])
def test_what_opendkim_signs_verifies(form, key_type):
    """With a key and a record as its own tools make them."""
    # What 2.11 beta signs so it does not sign rightly; dkimpy says the same.
    is_broken = key_type == "ed25519" and form.startswith("simple")
    bodies = [b"Hello.\r\n", b"", b" a \t b \r\n\r\n\r\n", "grüße\r\n".encode() * 2000]
    with OpenDKIMSigner("example.org", "od", form, key_type) as signer:
        mails = [signer.signed(message(body)) for body in bodies]
    with DnsPeer({signer.name: {"TXT": txt(signer.record)}}) as dns:
        for mail in mails:
            by_dkimpy = dkim.DKIM(mail).verify(dnsfunc=lambda *_, **__: signer.record.encode())
            assert by_dkimpy is not is_broken
            assert [("dkim", "fail" if is_broken else "pass")] == ours(mail, dns, clock=time.time)
            changed = mail.replace(b"folded", b"forded")
            assert [("dkim", "fail")] == ours(changed, dns, clock=time.time)


def test_what_opendkim_signs_in_part_verifies():
    """l=, as it writes it."""
    with OpenDKIMSigner(
        "example.org", "od", "relaxed/simple", "rsa", "BodyLengthDB csl:bob@example.net"
    ) as s:
        mail = s.signed(message())
    assert b"l=" in mail
    with DnsPeer({s.name: {"TXT": txt(s.record)}}) as dns:
        assert [("dkim", "pass")] == ours(mail + b"more\r\n", dns, clock=time.time)


SEALERS = [rsa_key(2048, f"a{n}", f"hop{n}.test") for n in range(1, 4)]


def _chain(*changes):
    mail = message()
    for number, (key, change) in enumerate(zip(SEALERS, changes, strict=False)):
        mail = sealed(mail + change, key, "pass" if number else "none")
    return mail


CHAINS = {
    "none": message(),
    "one set": _chain(b""),
    "two sets": _chain(b"", b""),
    "three sets": _chain(b"", b"", b""),
    "a footer by the second": _chain(b"", b"footer\r\n"),
    "a footer by the third": _chain(b"", b"", b"footer\r\n"),
    "more after the last": _chain(b"", b"") + b"more\r\n",
    "a signed field changed": _chain(b"", b"").replace(b"folded", b"forded"),
    "a field more": b"X-New: x\r\n" + _chain(b"", b""),
    "results changed": _chain(b"", b"").replace(b" arc=none", b" arc=pass"),
    "a seal changed": _chain(b"", b"").replace(
        b"d=hop1.test; s=a1; t=", b"d=hop1.test; s=a1; x=1; t="
    ),
    "cv= wrong": _chain(b"").replace(b"cv=none", b"cv=pass"),
    "cv= unknown": _chain(b"").replace(b"cv=none", b"cv=maybe"),
    "failed earlier": sealed(_chain(b"") + b"more\r\n", SEALERS[1], "fail"),
    "a set missing": _chain(b"", b"").replace(b"i=1;", b"i=5;"),
    "a seal missing": _chain(b"", b"").replace(b"ARC-Seal: i=1", b"X-Seal: i=1"),
    "a seal twice": b"ARC-Seal: i=1; x\r\n" + _chain(b""),
    "an unknown key": sealed(message(), rsa_key(2048, "unknown", "hop1.test")),
}


@pytest.fixture(scope="module")
def chain_dns():
    """The keys of the sealers."""
    with DnsPeer({key.name: {"TXT": txt(key.record)} for key in SEALERS}) as peer:
        yield peer


def test_a_chain_is_valid_where_it_is_with_others(chain_dns, tmp_path):
    """dkimpy and Mail::DKIM; what the latter calls invalid is a chain that failed."""
    by_perl = [r[0] for r in told_by_mail_dkim(CHAINS.values(), chain_dns, tmp_path)]
    mine, by_dkimpy = [], []
    for mail in CHAINS.values():
        mine.append(dict(ours(mail, chain_dns)).get("arc", "none"))
        by_dkimpy.append(_chain_by_dkimpy(mail))

    assert ["none"] + ["pass"] * 5 + ["fail", "fail", "pass"] == mine[:9]
    assert ["fail"] * 9 == mine[9:]
    assert mine == by_dkimpy
    told = dict(zip(CHAINS, ({"invalid": "fail"}.get(r, r) for r in by_perl), strict=True))
    # RFC 8617 §5.2: a set has one of each; Mail::DKIM takes the last.
    assert "pass" == told.pop("a seal twice")
    assert told == {name: r for name, r in zip(CHAINS, mine, strict=True) if name in told}


def _chain_by_dkimpy(mail):
    known = {key.name: key.record.encode() for key in SEALERS}
    result, _, _ = dkim.arc_verify(
        mail, dnsfunc=lambda n, timeout=5: known.get(n.decode().rstrip("."))
    )
    return {None: "fail"}.get(result, (result or b"").decode())


SPF_ZONE = {
    "hosts.test": {"A": ["192.0.2.1", "192.0.2.2"], "AAAA": ["2001:db8::1"], "MX": ["10 mx.test."]},
    "mx.test": {"A": ["192.0.2.3"]},
    "policy.test": {"TXT": txt("v=spf1 ip4:192.0.2.0/28 -all")},
    "broken.test": {"TXT": txt("v=spf1 ip4:999 -all")},
    "1.2.0.192.in-addr.list.test": {"A": ["127.0.0.2"]},
    "1.2.0.192.in-addr.arpa": {"PTR": ["host.hosts.test."]},
    "host.hosts.test": {"A": ["192.0.2.1"]},
    **{f"h{n}.test": {"A": ["198.51.100.1"]} for n in range(12)},
    "many.test": {"MX": [f"{n} h{n}.test." for n in range(11)]},
    "down.test": {"TXT": txt("v=spf1 +all")},
    "two.test": {"TXT": txt("v=spf1 -all", "v=spf1 +all")},
    "long.test": {"TXT": txt("v=spf1 " + "ip4:203.0.113.1 " * 40 + "ip4:192.0.2.1 -all")},
    "alias.test": {"CNAME": ["policy.test."]},
    "loop.test": {"TXT": txt("v=spf1 include:loop.test -all")},
    "mail.helo.test": {"TXT": txt("v=spf1 ip4:192.0.2.1 -all")},
}
SPF_RECORDS = [
    "v=spf1 -all",
    "v=spf1 +all",
    "v=spf1",
    "v=spf1 ?all",
    "v=spf1 ~all",
    "v=spf10 -all",
    "V=SPF1 IP4:192.0.2.1 -ALL",
    "v=spf1 ip4:192.0.2.1 -all",
    "v=spf1 ip4:192.0.2.0/30 -all",
    "v=spf1 ip4:192.0.2.0/33 -all",
    "v=spf1 ip4:192.0.2 -all",
    "v=spf1 ip6:2001:db8::/32 -all",
    "v=spf1 ip6:2001:db8:::1 -all",
    "v=spf1 a:hosts.test -all",
    "v=spf1 a:hosts.test/24 -all",
    "v=spf1 a:hosts.test/24//64 -all",
    "v=spf1 mx:hosts.test -all",
    "v=spf1 mx:hosts.test/30 -all",
    "v=spf1 ptr:hosts.test -all",
    "v=spf1 ptr:other.test -all",
    "v=spf1 exists:%{ir}.%{v}.list.test -all",
    "v=spf1 exists:%{l}.nowhere.test -all",
    "v=spf1 exists:%{z}.test -all",
    "v=spf1 include:policy.test -all",
    "v=spf1 include:alias.test -all",
    "v=spf1 include:nowhere.test -all",
    "v=spf1 include:broken.test -all",
    "v=spf1 include:two.test -all",
    "v=spf1 include:loop.test -all",
    "v=spf1 include:long.test ?all",
    "v=spf1 include:down.test -all",
    "v=spf1 redirect=policy.test",
    "v=spf1 redirect=nowhere.test",
    "v=spf1 redirect=policy.test redirect=policy.test",
    "v=spf1 -all exp=policy.test",
    "v=spf1 a:x1.test a:x2.test a:x3.test -all",
    "v=spf1 a:x1.test a:x2.test -all",
    "v=spf1 " + " ".join(f"a:h{n}.test" for n in range(10)) + " -all",
    "v=spf1 " + " ".join(f"a:h{n}.test" for n in range(11)) + " -all",
    "v=spf1 mx:many.test -all",
    "v=spf1 foo:bar -all",
    "v=spf1 foo=bar -all",
    "v=spf1 a: -all",
    "v=spf1 -all:x",
    "v=spf1  ip4:192.0.2.1  -all ",
    "no record of that kind",
]
CLIENTS = ["192.0.2.1", "203.0.113.9", "2001:db8::1", "2001:db9::1"]


def test_spf_says_what_it_says_to_others():
    """RFC 7208, for MAIL FROM and for HELO."""
    zone = dict(SPF_ZONE)
    for number, record in enumerate(SPF_RECORDS):
        zone[f"s{number}.test"] = {"TXT": txt(record)}
    asked = [(n, client) for n in range(len(SPF_RECORDS)) for client in CLIENTS]
    with DnsPeer(zone) as dns:
        dns.ways["down.test"] = Way.SERVFAIL
        lines = []
        mine = []
        for number, address in asked:
            path = f"alice@s{number}.test"
            lines += [f"mfrom\t{path}\t{address}\tmail.helo.test"]
            lines += [f"helo\tmail.helo.test\t{address}\tmail.helo.test"]
            client = SMTPClient(address=address, helo="mail.helo.test")
            mine += [result for method, result in ours(message(), dns, client, path)[1:]]
        theirs = perl("mail_spf.pl", dns, lines=lines)

    # RFC 7208 §4.6.4: more than ten MX records are an error. Mail::SPF looks at the first ten.
    labels = [(SPF_RECORDS[n], client, which) for n, client in asked for which in ("mfrom", "helo")]
    told, found = dict(zip(labels, theirs, strict=True)), dict(zip(labels, mine, strict=True))
    for label in labels:
        if label[0] == "v=spf1 mx:many.test -all" and told[label] != found[label]:
            assert ("fail", "permerror") == (told.pop(label), found.pop(label))
    assert told == found
