"""What was known of a mail when it arrived stands inside, where nobody can change it.

Postfix, milter and key service; senders sign as `signed_mail` does, and their keys are in a DNS
of ours. The verdicts themselves are compared with other verifiers' elsewhere.
"""

import base64
import re
import smtplib
from collections.abc import Iterator
from contextlib import ExitStack
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

import canary
import dkim_verifiers
import signed_mail
from delivered import Delivered, deliver, deliver_one
from dkim_verifiers import OpenDKIM
from dns_peer import DnsPeer, txt
from letterlock.message import split
from milterproto import MilterClient
from signed_mail import Key, ed25519_key, rsa_key, sealed, signed
from smtp_sink import SMTPSink
from stack import Owner, Stack, daemons

US = "mx.example.test"
DOMAINS: dict[str, dict[str, object]] = {
    "example.test": {},
    "shy.test": {"header_policy": "hcp_shy"},
    "all.test": {"header_policy": "hcp_all"},
    "wrap.test": {"arrived_encrypted": "wrap"},
    "pass.test": {"arrived_encrypted": "pass"},
    "accept.test": {"without_certificate": "accept"},
}
VIRTUAL = {"partners@example.test": "alice@example.test, partner@outside.test"}
FORMS = ("alice@example.test", "alice@shy.test", "alice@all.test")
KEYS = (rsa_key(), ed25519_key(), rsa_key(selector="seal", domain="relay.test"))
LINE = b"0123456789abcdef" * 4 + b"\r\n"
WORKER_KILOBYTES = 8 * 1024


@pytest.fixture(scope="module")
def dns() -> Iterator[DnsPeer]:
    """The senders' DNS."""
    zone = {key.name: {"TXT": txt(key.record)} for key in KEYS}
    zone["good.test"] = {"TXT": txt("v=spf1 ip4:192.0.2.0/28 -all")}
    with DnsPeer(zone) as peer:
        yield peer


@pytest.fixture(scope="module")
def sink() -> Iterator[SMTPSink]:
    with SMTPSink() as listening:
        yield listening


@pytest.fixture(scope="module")
def host(
    tmp_path_factory: pytest.TempPathFactory, alice: Owner, bob: Owner, dns: DnsPeer, sink: SMTPSink
) -> Iterator[Stack]:
    """A stack that verifies; one worker, so that it is known which one does the work."""
    stack = Stack(
        tmp_path_factory.mktemp("verdicts"),
        domains=DOMAINS,
        workers=1,
        virtual_aliases=VIRTUAL,
        relays={"outside.test": sink.address},
        authentication={"nameserver": dns.address},
        parameters={"smtpd_authorized_xclient_hosts": "127.0.0.0/8"},
    )
    with stack:
        for domain in ("example.test", "shy.test", "all.test", "wrap.test", "pass.test"):
            stack.enrol(f"alice@{domain}", alice.certificate)
        stack.enrol(bob.address, bob.certificate)
        yield stack


def payload(copy: Delivered, owner: Owner) -> Message:
    """Return what the owner decrypts, as somebody else's parser sees it."""
    return message_from_bytes(owner.read(copy.octets))


def verdict(copy: Delivered, owner: Owner) -> str:
    """Return the one field of ours: inside, on top; and nowhere outside."""
    found = payload(copy, owner)
    assert ["Letterlock-Original", "Authentication-Results"] == found.keys()[:2]
    (ours,) = (v for v in found.get_all("Authentication-Results", []) if claims_to_be_ours(v))
    assert [] == [v for v in copy.shown(b"authentication-results") if claims_to_be_ours(str(v))]
    return " ".join(ours.split())


def claims_to_be_ours(value: str) -> bool:
    return US in value.lower()


def broken(octets: bytes) -> bytes:
    """Return a mail with one word more."""
    return octets + b"more\r\n"


MAILS = {
    "unsigned": (signed_mail.message(), "dkim=none"),
    "signed": (
        signed(signed_mail.message(), KEYS[0]),
        r"dkim=pass header\.d=example\.org header\.s=sel header\.a=rsa-sha256 header\.b=\S+",
    ),
    "signed twice": (
        signed(signed(signed_mail.message(), KEYS[0]), KEYS[1]),
        r"dkim=pass .*header\.s=ed .*; dkim=pass .*header\.s=sel .*",
    ),
    "body changed": (broken(signed(signed_mail.message(), KEYS[0])), r"dkim=fail .*"),
    "header changed": (
        signed(signed_mail.message(), KEYS[0]).replace(b"Subject: A", b"Subject: B"),
        r"dkim=fail .*",
    ),
    "key unknown": (
        signed(signed_mail.message(), rsa_key(selector="gone")),
        r"dkim=permerror .*",
    ),
    "sealed": (
        sealed(signed(signed_mail.message(), KEYS[0]), KEYS[2]),
        r"dkim=pass .*; arc=pass .*",
    ),
    "seal broken": (
        sealed(signed(signed_mail.message(), KEYS[0]), KEYS[2]).replace(b"cv=none", b"cv=pass"),
        r"dkim=pass .*; arc=fail .*",
    ),
}


@pytest.mark.parametrize("case", MAILS)
@pytest.mark.parametrize("to", FORMS)
def test_the_verdict_is_inside(host: Stack, alice: Owner, to: str, case: str) -> None:
    """On top of the payload in each of its forms; and the original is what arrived."""
    octets, expected = MAILS[case]
    copy = deliver_one(host, octets, to)

    assert re.fullmatch(rf"{re.escape(US)}; {expected}", verdict(copy, alice))
    assert octets == copy.original(alice)


def test_a_restored_mail_can_be_verified_again(host: Stack, alice: Owner) -> None:
    """By anybody: its signature has survived."""
    restored = deliver_one(host, MAILS["signed twice"][0], "alice@all.test").original(alice)

    records = {key.name: key.record for key in KEYS}
    assert {"sel": "pass", "ed": "pass"} == dkim_verifiers.dkimpy(restored, records)


def test_in_the_form_with_a_message_below_it_is_said_there_too(host: Stack, alice: Owner) -> None:
    """Clients show either; hcp_all."""
    found = payload(deliver_one(host, MAILS["signed"][0], "alice@all.test"), alice)
    below = found.get_payload(0)

    assert "message/rfc822" == found.get_content_type()
    assert isinstance(below, Message)
    assert found["Authentication-Results"] == below["Authentication-Results"]
    assert "dkim=pass" in found["Authentication-Results"]


def test_spf(host: Stack, alice: Owner) -> None:
    """By the address of the client, as Postfix tells it; loopback is nobody's."""
    said = []
    for address, sender in (
        ("192.0.2.5", "x@good.test"),
        ("198.51.100.5", "x@good.test"),
        ("192.0.2.5", "x@unknown.test"),
    ):
        before = len(host.maildir(alice.address))
        with smtplib.SMTP(*host.layout.address("smtp"), timeout=60) as server:
            server.ehlo("client.test")
            server.docmd(f"XCLIENT ADDR={address} NAME=[UNAVAILABLE]")
            server.ehlo("client.test")
            server.sendmail(sender, alice.address, signed_mail.message())
        stored = host.wait_for_mail(alice.address, before + 1)[-1]
        copy = Delivered(stored.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
        said += re.findall(r"spf=(\w+) smtp\.mailfrom=(\S+?);?(?= |$)", verdict(copy, alice))

    assert [("pass", "x@good.test"), ("fail", "x@good.test"), ("none", "x@unknown.test")] == said


FORGED = (
    b"Authentication-Results: mx.example.test; dkim=pass header.d=bank.test",
    b"authentication-results: MX.Example.TEST 1; dkim=pass\r\n header.d=bank.test",
    b'Authentication-Results: (hello) "mx.example.test"; spf=pass smtp.mailfrom=bank.test',
    b"Authentication-Results:\r\n\tmx.example.test ; none",
)
FOREIGN = b"Authentication-Results: mx.elsewhere.test; dkim=pass header.d=bank.test"


@pytest.mark.parametrize("place", ["on top", "at the end", "everywhere"])
@pytest.mark.parametrize("to", FORMS)
def test_a_forged_verdict_is_gone_and_can_be_restored(
    host: Stack, alice: Owner, to: str, place: str
) -> None:
    """Inside and outside only ours counts; what arrived comes back to the octet."""
    plain = MAILS["signed"][0]
    section, _, body = plain.partition(b"\r\n\r\n")
    lines = b"\r\n".join(FORGED)
    top = [lines] if place != "at the end" else []
    end = [lines] if place != "on top" else []
    octets = b"\r\n".join([*top, FOREIGN, section, *end, b"", body])
    copy = deliver_one(host, octets, to)
    inside = alice.read(copy.octets)

    assert "dkim=pass header.d=example.org" in verdict(copy, alice)
    without_places = inside.partition(b"\r\nAuthentication-Results")[2]
    for line in FORGED:
        assert line not in without_places
        assert line not in copy.octets
    # Repeated above a message below.
    assert (2 if "all" in to else 1) == without_places.count(FOREIGN)
    assert octets == copy.original(alice)


def encrypted(owner: Owner, octets: int = 40) -> bytes:
    """Return a mail that its sender has encrypted (RFC 3156 §4), not signed by anybody."""
    to = ("--recipient", owner.fingerprint, "--compress-algo", "none")
    armored = owner.gpg("--armor", "--encrypt", *to, stdin=b"x" * octets)
    return (
        b"From: Alice <alice@example.org>\r\nTo: bob@example.net\r\nSubject: hidden canary\r\n"
        b"Date: Fri, 20 Nov 2026 11:00:00 +0000\r\nMessage-ID: <2@example.org>\r\n"
        b"MIME-Version: 1.0\r\nContent-Type: multipart/encrypted; boundary=b;\r\n"
        b' protocol="application/pgp-encrypted"\r\n\r\n'
        b"--b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n\r\n"
        b"--b\r\nContent-Type: application/octet-stream\r\n\r\n"
        + armored.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        + b"\r\n--b--\r\n"
    )


@pytest.mark.parametrize("octets", [40, 3_000_000])
def test_mail_that_arrives_encrypted(host: Stack, alice: Owner, octets: int) -> None:
    """The verdict is in the encrypted header, and the body is left alone."""
    sent = FORGED[0] + b"\r\n" + signed(encrypted(alice, octets), KEYS[0])
    copy = deliver_one(host, sent, alice.address)
    (field,) = copy.shown(b"letterlock-header")
    header = message_from_bytes(alice.decrypt(base64.b64decode(field)))

    assert split(sent)[1] == copy.body
    assert "dkim=pass" in header["Authentication-Results"]
    assert [] == copy.shown(b"authentication-results")
    assert sent == copy.original(alice)


def test_mail_that_arrives_encrypted_for_two_of_three(
    host: Stack, alice: Owner, bob: Owner
) -> None:
    """Held once, set aside once: each gets his own form, with the verdict."""
    sent = signed(encrypted(alice, 2_000_000), KEYS[0])
    to = [alice.address, bob.address, "alice@wrap.test"]
    got = {path: copies[0] for path, copies in deliver(host, sent, to).items()}

    assert split(sent)[1] == got[alice.address].body
    assert "dkim=pass" in verdict(got[bob.address], bob)
    assert "dkim=pass" in verdict(got["alice@wrap.test"], alice)
    owners = (alice, bob, alice)
    assert [sent] * 3 == [got[p].original(o) for p, o in zip(to, owners, strict=True)]


@pytest.mark.parametrize("to", ["new@accept.test", "alice@pass.test"])
def test_mail_that_rests_as_it_arrived(host: Stack, alice: Owner, to: str) -> None:
    """There is no inside: the verdict is on top, and a forged one is gone."""
    plain = encrypted(alice) if "pass" in to else signed_mail.message()
    sent = signed(plain, KEYS[0])
    copy = deliver_one(host, FORGED[0] + b"\r\n" + sent, to)
    (shown,) = copy.shown(b"authentication-results")

    assert shown.startswith(b"mx.example.test; dkim=pass")
    assert copy.octets.endswith(sent)
    keys = list(copy.section.keys)
    assert keys.index(b"authentication-results") < keys.index(b"dkim-signature")


def test_for_everybody_at_once(host: Stack, alice: Owner, bob: Owner, sink: SMTPSink) -> None:
    """Every form and outside, from one mail whose body was held."""
    section, _, _ = MAILS["signed"][0].partition(b"\r\n\r\n")
    body = b"".join(b"line %07d\r\n" % number for number in range(120_000))
    sent = signed(section.partition(b"From:")[2].join([b"From:", b"\r\n\r\n"]) + body, KEYS[0])
    to = [*FORMS, bob.address, "new@accept.test", "partners@example.test"]
    sink.messages.clear()
    got = deliver(host, FORGED[0] + b"\r\n" + sent, to, into=to[:-1])
    (outside,) = sink.wait_for(1)

    for path, owner in zip(to[:4], (alice, alice, alice, bob), strict=True):
        (copy,) = got[path]
        assert "dkim=pass" in verdict(copy, owner)
        assert FORGED[0] + b"\r\n" + sent == copy.original(owner)
    (plain,) = got["new@accept.test"]
    assert plain.octets.endswith(sent)
    assert ["partner@outside.test"] == outside.forward_paths
    assert outside.octets.endswith(sent)
    assert FORGED[0] not in outside.octets


# Where the body waits while it is not known what the verdict will be.


@pytest.fixture
def worker(host: Stack) -> int:
    """The one that serves."""
    command_lines = {
        pid: Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") for pid in host.pids("milter")
    }
    (pid,) = (pid for pid, line in command_lines.items() if b"--worker" in line)
    return pid


def kilobytes(pid: int, name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1])


def spilled(host: Stack, worker: int) -> list[Path]:
    """Return the files without a name that the worker has on disk."""
    return canary.open_in(worker, host.layout.state / "spill")


@pytest.mark.parametrize("octets", [10_000, 25_000_000])
def test_a_held_body_can_be_read_nowhere(
    host: Stack, alice: Owner, worker: int, octets: int
) -> None:
    """Neither in the spill directory nor in any file that the worker has open."""
    word = canary.word("held")
    body = b"".join(b"%b line %d\r\n" % (word.encode(), n) for n in range(octets // 60))
    octets_signed = signed(signed_mail.message(body), KEYS[0])
    section, body = split(octets_signed)
    with MilterClient(daemons.milter_socket(host.layout)) as client:
        client.negotiate()
        client.connect("client.test", "192.0.2.5")
        client.mail()
        client.rcpt(f"<{alice.address}>")
        for one in section:
            client.header(one.name, one.value.replace(b"\r\n", b"\n"))
        client.eoh()
        client.body(body)
        kept = spilled(host, worker)
        seen = canary.found(canary.open_files(worker), [word])
        on_disk = sum(file.stat().st_size for file in kept)
        ended = client.end()

    assert [] == seen
    assert (octets > 1_000_000) == bool(kept)
    assert on_disk == 0 or on_disk > 0.9 * len(body)
    assert b"dkim=pass" in alice.read(ended.body or b"")
    assert alice.read(ended.body or b"").endswith(body)
    assert [] == spilled(host, worker)
    assert [] == list((host.layout.state / "spill").iterdir())


def large(megabytes: int) -> bytes:
    """Return a mail that is not signed."""
    return signed_mail.message(LINE * (megabytes * 1_000_000 // len(LINE)))


@pytest.mark.parametrize("to", ["alice@example.test", "alice@all.test"])
@pytest.mark.parametrize("key", [KEYS[0], None], ids=["held", "streamed"])
def test_25_megabytes_cost_a_worker_its_buffers(
    host: Stack, alice: Owner, worker: int, key: Key | None, to: str
) -> None:
    """At most 8 MB more than an idle one, whether the body is held or not."""
    mail = signed(large(25), key) if key else large(25)
    small = signed(signed_mail.message(LINE * 1_000), KEYS[0])
    for _ in range(3):
        deliver_one(host, small, to)
    idle = kilobytes(worker, "VmRSS")
    # proc_pid_clear_refs(5): 5 sets the peak resident set size to the current value.
    Path(f"/proc/{worker}/clear_refs").write_text("5")

    copy = deliver_one(host, mail, to)

    peak = kilobytes(worker, "VmHWM") - idle
    assert peak <= WORKER_KILOBYTES, f"{peak} kB"
    assert f"dkim={'pass' if key else 'none'}" in verdict(copy, alice)
    assert mail == copy.original(alice)


@pytest.mark.parametrize("case", ["unsigned", "key unknown", "signed by a key too short to count"])
def test_a_body_on_which_nothing_depends_is_encrypted_as_it_comes(
    host: Stack, alice: Owner, worker: int, case: str
) -> None:
    """What is on disk in the middle of the mail is the OpenPGP packet already."""
    keys = {"unsigned": None, "key unknown": rsa_key(selector="gone")}
    key = keys.get(case, rsa_key(512, selector="short"))
    mail = signed(large(3), key) if key else large(3)
    section, body = split(mail)
    with MilterClient(daemons.milter_socket(host.layout)) as client:
        client.negotiate()
        client.connect("client.test", "192.0.2.5")
        client.mail()
        client.rcpt(f"<{alice.address}>")
        for one in section:
            client.header(one.name, one.value.replace(b"\r\n", b"\n"))
        client.eoh()
        client.body(body)
        (file,) = spilled(host, worker)
        begun = file.read_bytes()[:3]
        ended = client.end()

    # RFC 9580 §4.2: an SEIPD packet, a partial length, version 1.
    assert (0xD2, True, 1) == (begun[0], 224 <= begun[1] < 255, begun[2])
    assert alice.read(ended.body or b"").endswith(body)


# Filters that ran before us.


@pytest.mark.parametrize("enabled", [True, False])
def test_a_filter_before_us_is_believed(
    tmp_path: Path, alice: Owner, dns: DnsPeer, enabled: bool
) -> None:
    """opendkim, by configuration: its field is kept inside, and its work is not done again."""
    with ExitStack() as resources:
        filter_before = resources.enter_context(
            OpenDKIM({key.name: key.record for key in KEYS}, authserv_id="filter.test")
        )
        stack = Stack(
            tmp_path / "filtered",
            authentication={
                "enabled": enabled,
                "nameserver": dns.address,
                "trusted": ["filter.test"],
            },
            parameters={"smtpd_milters": f"unix:{filter_before.socket} $letterlock_milter"},
        )
        resources.enter_context(stack)
        stack.enrol(alice.address, alice.certificate)
        dns.asked.clear()
        as_filter = b"Authentication-Results: filter.test; dkim=pass header.d=bank.test\r\n"
        forged = as_filter + FORGED[0] + b"\r\n"
        copy = deliver_one(stack, forged + MAILS["signed"][0], alice.address)
        other = deliver_one(stack, broken(MAILS["signed"][0]), alice.address)

    found = payload(copy, alice).get_all("Authentication-Results", [])
    assert [] == [name for name, kind in dns.asked if "_domainkey" in name]
    assert enabled or not dns.asked
    assert ["filter.test"] == [value.split(";")[0] for value in found]
    assert "dkim=pass" in found[0]
    assert "header.d=example.org" in found[0]
    assert "dkim=fail" in str(payload(other, alice)["Authentication-Results"])
