"""What is known about a message is complete at its end, in time, whatever the message is."""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dns_peer import DnsPeer, Way, txt
from fake_dns import FakeDns
from keyservice.client import VerifiedSignature
from letterlock.authentication import Authenticator
from letterlock.config import AuthenticationSection
from letterlock.dns import Resolver
from letterlock.message import HeaderSection, split
from letterlock.smtp_client import SMTPClient
from signed_mail import NOW, ed25519_key, message, rsa_key, sealed, signed

OURS = "mx.example.test"
KEY = rsa_key()
OTHER = ed25519_key()
LIST = rsa_key(2048, "a1", "list.test")
CLIENT = SMTPClient(address="192.0.2.1", helo="mail.example.org")
RECORDS = {
    KEY.name: [KEY.record],
    OTHER.name: [OTHER.record],
    LIST.name: [LIST.record],
    "example.org": ["v=spf1 ip4:192.0.2.1 -all"],
}
VERIFIED = VerifiedSignature(
    domain="example.org",
    signed_fields=("from", "to", "subject", "date", "message-id"),
    has_body_length=False,
)
FILTERED = "Authentication-Results: filter.test; "


def authenticator(dns=None, **settings):
    section = AuthenticationSection(**settings)
    asked = FakeDns(RECORDS) if dns is None else dns
    return Authenticator(OURS, section, asked if section.enabled else None, lambda: NOW)


def findings(mail, dns=None, client=CLIENT, path="alice@example.org", **settings):
    """Return them; the body comes in pieces if it is wanted."""
    section, body = split(mail)
    inquiry = authenticator(dns, **settings).begin(client, path, section)
    if inquiry.needs_body:
        for at in range(0, len(body), 11):
            inquiry.write(body[at : at + 11])
    return inquiry.close()


def text(found):
    """Return the field body of the findings on one line."""
    return " ".join(found.field.unfolded.decode().split())


def test_all_that_is_found_out_is_in_one_field():
    """DKIM, ARC, SPF, under our name; for the owner, inside."""
    mail = sealed(signed(message(), KEY), LIST)

    found = findings(mail)

    assert text(found).startswith(
        "mx.example.test; dkim=pass header.d=example.org header.s=sel header.a=rsa-sha256 header.b="
    )
    assert text(found).endswith(
        "; arc=pass header.oldest-pass=0 header.as-d=list.test;"
        " spf=pass smtp.mailfrom=alice@example.org; spf=none smtp.helo=mail.example.org"
    )
    assert (VERIFIED,) == found.signatures


def test_unsigned_mail_of_nobody_is_said_to_be_that():
    """No signature, no chain, no client."""
    found = findings(message(), client=SMTPClient())

    assert "mx.example.test; dkim=none" == text(found)
    assert () == found.signatures


def test_the_body_decides_in_the_end():
    """A signature vouches for nothing before that."""
    found = findings(signed(message(), KEY) + b"more\r\n")

    assert 'dkim=fail reason="body hash did not verify"' in text(found)
    assert () == found.signatures


@pytest.mark.parametrize(
    ("mail", "expected"),
    [
        (message(), False),
        (signed(message(), KEY), True),
        (signed(message(), KEY).replace(b"folded", b"forded"), False),
        (signed(message(), rsa_key(2048, "unknown")), False),
        (sealed(message(), LIST), True),
        (sealed(message(), LIST).replace(b"cv=none", b"cv=pass"), False),
    ],
)
def test_the_body_is_wanted_only_where_it_decides(mail, expected):
    """All other mail is encrypted as it streams past."""
    section, _ = split(mail)

    assert expected is authenticator().begin(CLIENT, "", section).needs_body


def test_without_a_signature_that_could_pass_no_body_is_hashed():
    """`write` may be called all the same."""
    section, body = split(message())
    inquiry = authenticator().begin(CLIENT, "", section)

    inquiry.write(body)

    assert "dkim=none" in text(inquiry.close())


def test_fields_in_our_name_are_named_whatever_is_configured():
    """They must go also where nothing is checked here."""
    mail = b"Authentication-Results: MX.example.test; dkim=pass\r\nX: y\r\n" + message()

    assert {0} == findings(mail).forged
    assert {0} == findings(mail, enabled=False).forged
    assert {0} == findings(mail, trusted=("filter.test",)).forged


def test_a_filter_of_our_own_name_may_be_trusted():
    """rspamd and opendkim go by the name of the host unless they are told otherwise."""
    line = b"Authentication-Results: mx.example.test; dkim=pass header.d=example.org\r\n"
    mail = line + signed(message(), KEY)
    below = mail.replace(b"MIME-Version", line + b"MIME-Version")

    assert frozenset() == findings(mail, trusted=(OURS,)).forged
    assert 1 == len(findings(below, trusted=(OURS,)).forged)
    assert (VERIFIED,) == findings(mail, trusted=(OURS,)).signatures


def test_what_a_trusted_filter_says_is_not_asked_again():
    """Its field stays; of ours there is only what it leaves open."""
    mail = FILTERED.encode() + b"dkim=pass header.d=example.org\r\n" + signed(message(), KEY)
    dns = FakeDns(RECORDS)

    found = findings(mail, dns, trusted=("filter.test",))

    assert (VERIFIED,) == found.signatures
    assert KEY.name not in dns.asked
    assert text(found).startswith("mx.example.test; spf=pass")


def test_where_a_trusted_filter_said_everything_nothing_is_added():
    """No second field that says the same."""
    line = FILTERED.encode() + b"dkim=pass header.d=example.org; spf=pass; arc=none\r\n"

    found = findings(line + signed(message(), KEY), trusted=("filter.test",))

    assert None is found.field
    assert (VERIFIED,) == found.signatures


def test_where_a_trusted_filter_wrote_nothing_everything_is_checked():
    """It may have had a reason to leave this message out."""
    found = findings(signed(message(), KEY), trusted=("filter.test",))

    assert "dkim=pass" in text(found)


def test_a_name_that_is_not_trusted_means_nothing():
    """Strangers write such fields, too."""
    mail = FILTERED.encode() + b"dkim=pass header.d=bank.test\r\n" + message()

    assert "dkim=none" in text(findings(mail))


def test_if_it_is_switched_off_nobody_is_asked():
    """A filter is still believed."""
    mail = FILTERED.encode() + b"dkim=pass header.d=example.org\r\n" + signed(message(), KEY)
    dns = FakeDns(RECORDS)

    assert None is findings(signed(message(), KEY), dns, enabled=False).field
    found = findings(mail, dns, enabled=False, trusted=("filter.test",))

    assert (VERIFIED,) == found.signatures
    assert [] == dns.asked


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, None), ({"unjudged_is_spam": False}, False), ({"spam_field": "X-Spam: yes"}, None)],
)
def test_mail_that_nobody_judged(settings, expected):
    """The operator says what that means."""
    assert expected is findings(message(), **settings).is_spam


def test_spam_is_spam_whatever_is_said_of_what_is_not_judged():
    """The filter's word goes first."""
    settings = {"spam_field": "X-Spam: yes", "unjudged_is_spam": False}

    assert True is findings(b"X-Spam: Yes\r\n" + message(), **settings).is_spam
    assert False is findings(b"X-Spam: no\r\n" + message(), **settings).is_spam


def test_a_silent_resolver_costs_one_deadline_and_is_told():
    """Eight signatures, a chain and SPF; the mail is not kept waiting for each."""
    mail = message()
    for number in range(8):
        mail = signed(mail, rsa_key(2048, f"s{number}"))
    with DnsPeer({}) as peer:
        peer.ways["*"] = Way.SILENT
        began = time.monotonic()

        found = findings(sealed(mail, LIST), Resolver(peer.address), deadline_seconds=1.0)

        assert time.monotonic() - began < 6
    assert 8 == text(found).count('dkim=temperror reason="key unavailable"')
    assert 'arc=fail reason="key unavailable"' in text(found)
    assert 2 == text(found).count("spf=temperror")


def test_a_slow_name_does_not_use_up_the_time_of_the_others():
    """A signature of somebody whose name servers are dead, beside one that counts."""
    dead = rsa_key(2048, "sel", "dead.test")
    mail = signed(signed(message(), KEY), dead)
    zone = {name: {"TXT": txt(*records)} for name, records in RECORDS.items()}
    with DnsPeer(zone) as peer:
        peer.ways[dead.name] = Way.SILENT

        found = findings(mail, Resolver(peer.address), deadline_seconds=6.0)

    assert (VERIFIED,) == found.signatures
    assert "dkim=temperror" in text(found)


@pytest.mark.parametrize("way", [Way.OTHER_NAME, Way.OTHER_ID, Way.OTHER_QUESTION, Way.OTHER_PORT])
def test_a_forged_key_is_not_believed(way):
    """An answer to another question, or from somebody else, is none."""
    mallory = rsa_key(2048, "mallory")
    with DnsPeer({}) as peer:
        peer.ways["*"] = way
        peer.forged["TXT"] = txt(mallory.record)[0]
        mail = signed(message(), mallory)

        assert () == findings(mail, Resolver(peer.address), deadline_seconds=0.5).signatures


def test_mail_beyond_ascii_is_no_trouble():
    """RFC 6531, RFC 8616: our field stays printable ASCII."""
    client = SMTPClient(address="192.0.2.1", helo="mail.münchen.test")
    mail = signed(message("grüße\r\n".encode()), KEY).replace(b"Alice", "Älice".encode())

    found = findings(mail, client=client, path="älice@münchen.test")

    assert found.field.value.isascii()
    assert "smtp.mailfrom=xn--mnchen-3ya.test" in text(found)
    assert "smtp.helo=mail.xn--mnchen-3ya.test" in text(found)


def test_many_threads_find_out_the_same():
    """libmilter has a thread for each session."""
    one = authenticator()
    section, body = split(sealed(signed(message(), KEY), LIST))
    found = []

    def ask():
        for _ in range(10):
            inquiry = one.begin(CLIENT, "alice@example.org", section)
            inquiry.write(body)
            found.append(inquiry.close())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert 80 == len(found)
    assert 1 == len(set(found))


NAMES = st.sampled_from(
    [
        "DKIM-Signature",
        "ARC-Seal",
        "ARC-Message-Signature",
        "ARC-Authentication-Results",
        "Authentication-Results",
        "From",
        "X-Spam",
    ]
)
VALUES = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [
            b" i=1; a=rsa-sha256; cv=none; d=a.b; s=c; b=AA==; h=from; bh=AA==",
            b" v=1; a=rsa-sha256; d=a.b; s=c; b=AA==; h=from; bh=AA==; l=3; x=9999999999",
            b" filter.test; dkim=pass header.d=a.b header.s=c",
            b" mx.example.test; ",
        ]
    ),
)
ANYTHING = st.text(max_size=20)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=8), ANYTHING, ANYTHING, ANYTHING, ANYTHING)
def test_no_message_makes_it_fail(fields, address, helo, path, record):
    """Findings, never an exception; and never a signature that nobody made."""
    pairs = [(name, value.replace(b"\n", b"")) for name, value in fields]
    section = HeaderSection.from_milter(pairs)
    dns = FakeDns({"c._domainkey.a.b": [record], "a.b": [record]})
    settings = AuthenticationSection(trusted=("other.test",), spam_field="X-Spam: y")
    one = Authenticator(OURS, settings, dns, lambda: NOW)

    inquiry = one.begin(SMTPClient(address, "", helo), path, section)
    inquiry.write(b"body")
    found = inquiry.close()

    assert () == found.signatures
    assert found.field.value.isascii()
