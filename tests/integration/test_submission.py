"""Mail that users hand in: who gets it, in which form, and what of it anybody else can read.

Postfix, milter, key service and Dovecot. Whoever is not here is a sink, which keeps what
Postfix has sent to the octet; the signatures are judged as they are there.
"""

import base64
import itertools
import random
import re
import smtplib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import dkim_verifiers
import openpgp_tools
from autocrypt_mail import bodies, field, five_packets
from canary import Canaries, found, stored_files
from delivered import BEGIN, Delivered, deliver_one
from dkim_verifiers import OpenDKIM
from keyservice.client import Mailbox
from letterlock.message import split
from provider import Provider
from stack import PASSWORD, Owner, wait_until

ALICE, BOB = "alice@example.test", "bob@example.test"
CAROL, ERIN = "carol@outside.test", "erin@outside.test"
DAVE, ZOE = "dave@outside.test", "zoe@outside.test"
DOMAINS: dict[str, dict[str, object]] = {
    "example.test": {},
    "all.test": {"header_policy": "hcp_all"},
    "pass.test": {"arrived_encrypted": "pass"},
    "accept.test": {"without_certificate": "accept"},
    "never.test": {"outgoing": "never"},
    "required.test": {"outgoing": "required"},
    "strict.test": {"outgoing_level": 7},
    "self.test": {"copy_to_self": True},
}
VIRTUAL = {
    "info@example.test": BOB,
    "partners@example.test": f"{ALICE}, {CAROL}",
    "sales@example.test": "seller@example.test",
    "hotline@example.test": f"{CAROL}, {DAVE}",
}
GOES = (
    b"Received: from laptop.home.test ([192.0.2.77]) by x.test; Fri, 20 Nov 2026 06:00:00 +0000",
    b"User-Agent: something/1.0",
    b"X-Originating-IP: [192.0.2.77]",
    b"Authentication-Results: mx.example.test; dkim=pass header.d=bank.test",
    b"Letterlock: v=1; by=mx.example.test; fpr=" + b"0" * 40,
    b"Bcc: hidden@outside.test",
)
LINE = b"0123456789abcdef" * 4 + b"\r\n"
_numbers = itertools.count()


@pytest.fixture(scope="module")
def carol() -> Iterator[Owner]:
    """A peer whose certificate is known."""
    with Owner(CAROL) as owner:
        yield owner


@pytest.fixture(scope="module")
def erin() -> Iterator[Owner]:
    """Another one."""
    with Owner(ERIN, subkey="rsa2048") as owner:
        yield owner


@pytest.fixture(scope="module")
def provider(
    tmp_path_factory: pytest.TempPathFactory, alice: Owner, bob: Owner, carol: Owner, erin: Owner
) -> Iterator[Provider]:
    with ExitStack() as resources:
        made = Provider(
            tmp_path_factory.mktemp("submission"),
            resources,
            domains=DOMAINS,
            virtual_aliases=VIRTUAL,
        )
        for owner in (alice, bob):
            made.stack.enrol(owner.address, owner.certificate)
        for domain in ("all.test", "pass.test"):
            made.stack.enrol(f"alice@{domain}", alice.certificate)
        for owner in (carol, erin):
            made.learn(owner.address, owner.gpg("--export", owner.address))
        yield made


@pytest.fixture(scope="module")
def opendkim(provider: Provider) -> Iterator[OpenDKIM]:
    """A real one that has the records of all domains."""
    with OpenDKIM(provider.records) as verifier:
        yield verifier


@pytest.fixture
def sender() -> str:
    """Somebody who has no certificate, and has not sent before: nothing about him is held."""
    return f"sender{next(_numbers)}@example.test"


def mail(sender: str, body: bytes = b"Hello.\r\n", *fields: bytes) -> bytes:
    """Return a message to Carol with everything in it that a client adds."""
    ours = (
        f"From: Some One <{sender}>".encode(),
        b"To: Carol <carol@outside.test>, team: bob@example.test;",
        b"Subject: canary of the subject",
        b"Date: Fri, 20 Nov 2026 08:00:00 +0100",
        f"Message-ID: <{next(_numbers)}@laptop.home.test>".encode(),
        b"References: <1@outside.test>\r\n <2@outside.test>",
        b"In-Reply-To: <2@outside.test>",
    )
    return b"\r\n".join([*GOES[:3], *ours, *GOES[3:], *fields, b"", body])


def hygienic(message: bytes) -> bytes:
    """Return `message` without what goes."""
    for line in GOES:
        assert line + b"\r\n" in message
        message = message.replace(line + b"\r\n", b"")
    return message


def only(got: dict[str, list[Delivered]], path: str) -> Delivered:
    """Return the one message that `path` got."""
    (message,) = got[path]
    return message


def clear(message: Delivered) -> bytes:
    """Return what follows our signatures, and what Postfix and Dovecot have put on top."""
    keys = message.section.keys
    top = set(keys[: keys.index(b"from")])
    assert top <= {b"dkim-signature", b"received", b"return-path", b"delivered-to"}
    return message.octets[message.octets.index(b"\r\nFrom: ") + 2 :]


def key_id(owner: Owner) -> str:
    return owner.subkey_fingerprint[-16:]


def holds(message: Delivered, provider: Provider, opendkim: OpenDKIM) -> bool:
    """Whether both signatures of ours are there, and good for two verifiers."""
    # Every domain's are called the same.
    good = {name.partition(".")[0]: "pass" for name in provider.records}
    assert 2 == len(good)
    said = dkim_verifiers.dkimpy(message.octets, provider.records)
    return good == said == opendkim.verify(message.octets)


MULTIPART = (
    b"--x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n"
    b"--x\r\nContent-Type: application/octet-stream; name=a.bin\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\n"
    + base64.encodebytes(random.Random(4).randbytes(20_000)).replace(b"\n", b"\r\n")
    + b"--x--\r\n"
)
MIME = (b"MIME-Version: 1.0", b'Content-Type: multipart/mixed; boundary="x"')
ODD = (
    b"Comments:  two  blanks \t",
    b"X-Nothing:",
    b"Keywords:\r\n at once,\r\n\tand again",
    b"SUBJECT:canary of another",
    b"x-note:a",
    b"X-Note: b",
    b"Resent-Date: Fri, 20 Nov 2026 08:00:00 +0100",
    b"Content-Type: text/plain; hp=cipher",
)
CASES = {
    "plain": (b"Hello.\r\n",),
    "8-bit": ("Grüße\r\n".encode() + "Grüße\r\n".encode("latin-1"), "X-Note: Grüße".encode()),
    "attachment": (MULTIPART, *MIME),
    "odd fields": (b"Hello.\r\n", *ODD),
    "no body": (b"",),
    "blank lines": (b"\r\n \r\n\t\r\n\r\n",),
    "dots": (b".\r\n..\r\n.hidden\r\nFrom here\r\n",),
    "almost too long lines": (b"word " * 199 + b"\r\n" + b"x" * 997 + b"\r\n",),
    "5 MB": (b"0123456789abcdef" * 4 + b"\r\n" + b"q" * 70 + b"\r\n" * 2,),
}
CASES["5 MB"] = (CASES["5 MB"][0] * 36_000,)


@pytest.mark.parametrize("case", CASES)
def test_a_copy_for_a_known_peer(
    provider: Provider,
    opendkim: OpenDKIM,
    carol: Owner,
    sender: str,
    tmp_path: Path,
    case: str,
) -> None:
    """Read by gpg and sq, octet for octet; readable by nobody else; signed as it has left."""
    body, *fields = CASES[case]
    message = mail(sender, body, *fields)
    secret = tmp_path / "secret"
    secret.write_bytes(carol.gpg("--export-secret-keys", carol.address))

    got = provider.hand_in(message, [CAROL, DAVE], sender, options=["BODY=8BITMIME"])
    copy, other = only(got, CAROL), only(got, DAVE)

    assert copy.is_wrapped
    assert [key_id(carol)] == copy.key_ids
    armored = copy.octets[copy.octets.index(BEGIN) :]
    assert carol.read(copy.octets) == openpgp_tools.sq_decrypt(armored, secret)
    assert hygienic(message) == copy.original(carol)
    assert hygienic(message) == clear(other)
    assert holds(copy, provider, opendkim)
    assert holds(other, provider, opendkim)


def test_what_of_a_copy_stays_outside(provider: Provider, sender: str) -> None:
    """What a reply needs; no subject, no trace of the client, no mark of ours."""
    copy = only(provider.hand_in(mail(sender), CAROL, sender), CAROL)
    names = [field.name.decode() for field in copy.section]
    as_sent = split(hygienic(mail(sender)))[0]

    top = ["DKIM-Signature", "DKIM-Signature", "Received"]
    kept = ["From", "To", "Subject", "Date", "Message-ID", "References", "In-Reply-To"]
    assert [*top, *kept, "MIME-Version", "Content-Type"] == names
    assert [b"[...]"] == copy.shown(b"subject")
    for key in (b"from", b"to", b"date", b"references", b"in-reply-to"):
        assert as_sent.named(key) == copy.section.named(key)
    assert b"canary" not in copy.octets


def test_a_line_that_is_too_long_survives_in_a_copy_only(
    provider: Provider, opendkim: OpenDKIM, carol: Owner, sender: str
) -> None:
    """RFC 5321 §4.5.3.1.6: Postfix breaks it in the clear, and with it the signature."""
    message = mail(sender, b"x" * 5_000 + b"\r\n")
    got = provider.hand_in(message, [CAROL, DAVE], sender)
    copy, other = only(got, CAROL), only(got, DAVE)

    assert hygienic(message) == copy.original(carol)
    assert holds(copy, provider, opendkim)
    assert hygienic(message) != clear(other)
    assert not holds(other, provider, opendkim)


def test_a_large_message_leaves_no_file(provider: Provider, sender: str) -> None:
    """What was spilled to disk had no name, and is given back."""
    provider.hand_in(mail(sender, *CASES["5 MB"]), [CAROL, ERIN, DAVE], sender)

    assert [] == list((provider.stack.layout.state / "spill").iterdir())


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_25_megabytes_cost_a_worker_its_buffers(
    provider: Provider, alice: Owner, carol: Owner, sender: str, is_encrypted: bool
) -> None:
    """At most 8 MB more than an idle one, also where the body is needed for several copies."""
    command_lines = {
        pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in provider.stack.pids("milter")
    }
    (worker,) = (pid for pid, line in command_lines.items() if b"--role\0submission\0" in line)
    large = LINE * (25_000_000 // len(LINE))
    message = mail(sender, large)
    if is_encrypted:
        message = pgp_mime(sender, alice, alice, carol, text=large[: len(large) * 3 // 4])
    to = [CAROL, ERIN, DAVE, ALICE, BOB]
    for _ in range(2):
        provider.hand_in(mail(sender, LINE * 1000), to, sender, into=[ALICE, BOB])
    idle = kilobytes(worker, "VmRSS")
    # proc_pid_clear_refs(5): 5 sets the peak resident set size to the current value.
    Path(f"/proc/{worker}/clear_refs").write_text("5")

    got = provider.hand_in(message, to, sender, into=[ALICE, BOB])

    peak = kilobytes(worker, "VmHWM") - idle
    assert peak <= 8 * 1024, f"{peak} kB"
    assert set(to) == got.keys()
    assert hygienic(message) == clear(only(got, DAVE))
    assert hygienic(message) == only(got, ALICE).original(alice)


def kilobytes(pid: int, name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1])


def test_parameters_reach_every_message(provider: Provider, sender: str) -> None:
    """RFC 3461, RFC 6152, RFC 6531: of the copy that re-entered, and of what Postfix held."""
    before = len(provider.sink.messages)
    with provider.stack.submission() as server:
        server.login(sender, PASSWORD)
        server.docmd(f"MAIL FROM:<{sender}> BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=e1")
        server.docmd(f"RCPT TO:<{CAROL}> NOTIFY=SUCCESS ORCPT=rfc822;a@first.test")
        server.docmd(f"RCPT TO:<{DAVE}> NOTIFY=NEVER ORCPT=rfc822;b@first.test")
        assert 250 == server.data(mail(sender, "Grüße\r\n".encode()))[0]
    provider.stack.wait_until_queue_is_empty()
    mail_from = {"BODY=8BITMIME", "SMTPUTF8", "RET=HDRS", "ENVID=e1"}
    said = {
        taken.forward_paths[0]: (
            mail_from & set(taken.commands[0].split()),
            set(taken.commands[1].split()[2:]),
        )
        for taken in provider.sink.messages[before:]
    }

    assert said == {
        CAROL: (mail_from, {"NOTIFY=SUCCESS", "ORCPT=rfc822;a@first.test"}),
        DAVE: (mail_from, {"NOTIFY=NEVER", "ORCPT=rfc822;b@first.test"}),
    }


def test_everybody_gets_it_once_and_in_his_form(
    provider: Provider, alice: Owner, bob: Owner, carol: Owner, erin: Owner, sender: str
) -> None:
    """A mailbox here, one behind an alias, two peers that are known, and two that are not."""
    message = mail(sender)
    to = [CAROL, ALICE, DAVE, "info@example.test", ERIN, ZOE, "new@accept.test"]
    got = provider.hand_in(message, to, sender, into=[ALICE, BOB, "new@accept.test"])

    for owner in (alice, bob, carol, erin):
        copy = only(got, owner.address)
        assert copy.is_wrapped
        assert [key_id(owner)] == copy.key_ids
        assert hygienic(message) == copy.original(owner)
    for path in (DAVE, ZOE, "new@accept.test"):
        assert hygienic(message) == clear(only(got, path))
    assert got.keys() == {ALICE, BOB, CAROL, ERIN, DAVE, ZOE, "new@accept.test"}
    marked = {path for path in got if only(got, path).shown(b"letterlock")}
    assert {ALICE, BOB} == marked


def test_an_alias_that_leads_outside(
    provider: Provider, alice: Owner, carol: Owner, sender: str
) -> None:
    """Whoever is behind it is treated as if the sender had named him."""
    got = provider.hand_in(mail(sender), "partners@example.test", sender, into=[ALICE])

    assert [[key_id(alice)], [key_id(carol)]] == [only(got, p).key_ids for p in (ALICE, CAROL)]


def test_one_peer_by_two_spellings(provider: Provider, carol: Owner, sender: str) -> None:
    """One message."""
    before = len(provider.sink.messages)
    provider.hand_in(mail(sender), [CAROL, "Carol@OUTSIDE.test", CAROL], sender)

    (taken,) = provider.sink.messages[before:]
    assert [key_id(carol)] == Delivered(taken.octets).key_ids


def test_bcc_is_known_to_nobody(
    provider: Provider, bob: Owner, carol: Owner, erin: Owner, sender: str
) -> None:
    """Neither in what the others read, nor in whom it is encrypted to, nor in the envelope."""
    hidden = f"Bcc: {ERIN}, {DAVE}, {BOB}".encode()
    message = mail(sender, b"Hello.\r\n", hidden)
    got = provider.hand_in(message, [CAROL, ERIN, DAVE, BOB], sender, into=[BOB])
    seen = {
        CAROL: [carol.read(only(got, CAROL).octets)],
        ERIN: [erin.read(only(got, ERIN).octets)],
        BOB: [bob.read(only(got, BOB).octets)],
        DAVE: [],
    }
    for path, plaintexts in seen.items():
        everything = [*plaintexts, only(got, path).octets]
        others = {ERIN, DAVE, "hidden@outside.test"} - {path}
        assert not [o for o in others for octets in everything if o.encode() in octets]
    for path in (CAROL, ERIN, DAVE):
        (taken,) = (t for t in provider.transactions(path) if t.octets == only(got, path).octets)
        assert [path] == taken.forward_paths


def test_a_hundred_recipients(provider: Provider, alice: Owner, sender: str) -> None:
    """RFC 5321 §4.5.3.1.8. Peers that are known, peers that are not, and one of ours."""
    known = [f"known{number}@outside.test" for number in range(30)]
    for address in known:
        provider.learn(address, five_packets(address))
    unknown = [f"unknown{number}@outside.test" for number in range(69)]
    before = len(provider.sink.messages)
    got = provider.hand_in(mail(sender), [*known, ALICE, *unknown], sender, into=[ALICE])

    assert {*known, ALICE, *unknown} == got.keys()
    assert {1} == {len(messages) for messages in got.values()}
    assert 30 == len({tuple(only(got, address).key_ids) for address in known})
    assert {1} == {len(only(got, address).key_ids) for address in known}
    of_known = [t for t in provider.sink.messages[before:] if t.forward_paths[0] in known]
    assert [1] * 30 == [len(taken.forward_paths) for taken in of_known]


def test_a_copy_to_self(provider: Provider, carol: Owner, erin: Owner) -> None:
    """Recipient and sender can read it, and nobody else is named."""
    with Owner("self@self.test") as writer:
        provider.stack.enrol("self@self.test", writer.certificate)
        got = provider.hand_in(mail("self@self.test"), [CAROL, ERIN, DAVE], "self@self.test")

        for owner in (carol, erin):
            copy = only(got, owner.address)
            assert {key_id(owner), key_id(writer)} == set(copy.key_ids)
            assert writer.read(copy.octets) == owner.read(copy.octets)


# What the sender's provider has decided.


def test_never(provider: Provider) -> None:
    """The domain says so: in the clear, though a certificate is known."""
    message = mail("nat@never.test")
    got = provider.hand_in(message, [CAROL, DAVE], "nat@never.test")

    assert [hygienic(message)] * 2 == [clear(only(got, path)) for path in (CAROL, DAVE)]


def test_required(provider: Provider, alice: Owner, carol: Owner) -> None:
    """Encrypted or nothing: the mailboxes are named, and nobody gets anything."""
    who = "rex@required.test"
    got = provider.hand_in(mail(who), [CAROL, ALICE], who, into=[ALICE])
    assert [[key_id(carol)], [key_id(alice)]] == [only(got, p).key_ids for p in (CAROL, ALICE)]
    refused, text = refusal(provider, mail(who), [CAROL, DAVE, ALICE, ZOE], who)

    assert (550, "5.7.5") == (refused, text.split()[0])
    assert text.endswith(f"no certificate is known for {DAVE}, {ZOE}")


def test_a_refusal_names_what_the_sender_wrote(provider: Provider) -> None:
    """Where an alias leads is not for him to know."""
    who = "rex@required.test"
    text = refusal(provider, mail(who), ["hotline@example.test", "Zoe@OUTSIDE.test"], who)[1]

    assert text.endswith("is known for hotline@example.test, Zoe@OUTSIDE.test")


def refusal(
    provider: Provider, message: bytes, to: list[str], sender: str, **how: object
) -> tuple[int, str]:
    """Hand in what is refused, and return the reply. Nobody gets anything."""
    before = provider.everything()
    with pytest.raises(smtplib.SMTPResponseException) as raised:
        provider.hand_in(message, to, sender, **how)
    assert before == provider.everything()
    return raised.value.smtp_code, str(raised.value.smtp_error)


@pytest.mark.parametrize("setting", ["outgoing=required", "outgoing=never", "outgoing_level=3"])
def test_a_mailbox_has_a_policy_of_its_own(
    provider: Provider, carol: Owner, sender: str, setting: str
) -> None:
    """Over its domain's, by the operator's command."""
    provider.decide("set", sender, setting)
    message = mail(sender)

    match setting:
        case "outgoing=required":
            assert 550 == refusal(provider, message, [CAROL, DAVE], sender)[0]
        case _:
            # Carol's provider has vouched for her certificate: level 2.
            got = provider.hand_in(message, CAROL, sender)
            assert hygienic(message) == clear(only(got, CAROL))


def test_a_mailbox_may_be_less_strict_than_its_domain(provider: Provider, carol: Owner) -> None:
    """So that an operator can write down an exception; and take it back."""
    who, message = "ron@required.test", mail("ron@required.test")
    provider.decide("set", who, "outgoing=when-known")
    assert hygienic(message) == clear(only(provider.hand_in(message, DAVE, who), DAVE))
    provider.decide("unset", who, "outgoing")

    def is_refused() -> bool:
        try:
            provider.hand_in(message, DAVE, who)
        except smtplib.SMTPResponseException as refused:
            return refused.smtp_code == 550
        return False

    wait_until(is_refused, "the domain's policy again")


def test_a_level_that_no_certificate_has_reached(provider: Provider) -> None:
    """The domain wants certificates that the operator pinned."""
    message = mail("sue@strict.test")
    got = provider.hand_in(message, CAROL, "sue@strict.test")

    assert hygienic(message) == clear(only(got, CAROL))


def test_behind_an_alias_the_policy_is_that_of_the_mailbox(provider: Provider) -> None:
    """Another From is no way around it."""
    provider.decide("set", "seller@example.test", "outgoing=required")
    message = mail("sales@example.test")
    login = ("seller@example.test", PASSWORD)

    assert 550 == refusal(provider, message, [DAVE], "sales@example.test", login=login)[0]


# What the sender's client has encrypted itself.


def pgp_mime(
    sender: str, writer: Owner, *readers: Owner, text: bytes = b"canary of the client\r\n"
) -> bytes:
    """Return what a client sends (RFC 3156 §4), encrypted by gpg."""
    for reader in readers:
        writer.gpg("--import", stdin=reader.certificate)
    to = [part for reader in readers for part in ("--recipient", reader.fingerprint)]
    entity = b"Content-Type: text/plain\r\n\r\n" + text
    options = ("--armor", "--compress-algo", "none", "--encrypt")
    armored = writer.gpg(*options, *to, stdin=entity)
    body = (
        b"--b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n\r\n"
        b"--b\r\nContent-Type: application/octet-stream\r\n\r\n"
        + armored.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        + b"\r\n--b--\r\n"
    )
    return mail(
        sender,
        body,
        b"MIME-Version: 1.0",
        b'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted"; boundary=b',
    )


@pytest.mark.parametrize("domain", ["example.test", "required.test", "never.test"])
def test_encrypted_mail_leaves_as_it_is(
    provider: Provider, opendkim: OpenDKIM, alice: Owner, carol: Owner, domain: str
) -> None:
    """Octet for octet, but for the fields that go and our signatures; whatever the policy."""
    who = f"enc{next(_numbers)}@{domain}"
    message = pgp_mime(who, alice, carol)
    got = provider.hand_in(message, [CAROL, DAVE], who)

    for path in (CAROL, DAVE):
        assert hygienic(message) == clear(only(got, path))
        assert holds(only(got, path), provider, opendkim)
    assert b"canary of the client" in carol.read(only(got, CAROL).octets)


def test_encrypted_mail_for_a_mailbox_of_ours_is_treated_as_from_outside(
    provider: Provider, alice: Owner, bob: Owner, carol: Owner, sender: str
) -> None:
    """Who can read it keeps its body and gets the header encrypted; who cannot gets it wrapped."""
    message = pgp_mime(sender, alice, alice, carol)
    to = [CAROL, ALICE, BOB, "alice@pass.test"]
    got = provider.hand_in(message, to, sender, into=to[1:])
    hers, his = only(got, ALICE), only(got, BOB)

    assert split(message)[1] == hers.body == only(got, "alice@pass.test").body
    assert 1 == len(hers.shown(b"letterlock-header"))
    assert his.is_wrapped
    assert [key_id(bob)] == his.key_ids
    assert [hygienic(message)] * 2 == [hers.original(alice), his.original(bob)]
    assert hygienic(message) == clear(only(got, CAROL))


# What the sender's client, or his provider, says of his certificate.


def autocrypt(message: Delivered) -> dict[str, str]:
    """Return the attributes of its one Autocrypt field, as somebody else's parser finds it."""
    (body,) = bodies(message.octets, "Autocrypt")
    assert len(body) < 10 * 1024
    pairs = (pair.partition("=")[::2] for pair in "".join(body.decode().split()).split(";"))
    return dict(pairs)


def test_a_senders_certificate_goes_with_his_mail(
    provider: Provider, alice: Owner, carol: Owner, tmp_path: Path
) -> None:
    """Primary key, user ID of that address, subkey: nothing of her other addresses."""
    provider.decide("set", ALICE, "prefer_encrypt=mutual")
    got = provider.hand_in(mail(ALICE), [CAROL, DAVE], ALICE)
    inside = carol.read(only(got, CAROL).octets)
    attributes = autocrypt(only(got, DAVE))
    keydata = base64.b64decode(attributes["keydata"])
    (tmp_path / "keydata").write_bytes(keydata)
    shown = alice.gpg("--with-colons", "--show-keys", str(tmp_path / "keydata")).decode()
    rows = [line.split(":") for line in shown.splitlines()]

    assert (ALICE, "mutual") == (attributes["addr"], attributes["prefer-encrypt"])
    assert [alice.fingerprint.upper()] == [r[9] for r in rows if r[0] == "fpr"][:1]
    assert [f"Owner <{ALICE}>"] == [r[9] for r in rows if r[0] == "uid"]
    # Outside of what is encrypted, too, where Carol's server looks for it; and inside.
    assert attributes == autocrypt(only(got, CAROL)) == autocrypt(Delivered(inside))


def test_what_the_client_wrote_is_not_replaced(provider: Provider) -> None:
    """Not even if it is somebody else's certificate, or none."""
    client_s = b"Autocrypt:" + field(ALICE, five_packets(ALICE))
    message = mail(ALICE, b"Hello.\r\n", client_s)
    got = provider.hand_in(message, DAVE, ALICE)

    assert hygienic(message) == clear(only(got, DAVE))


def test_no_field_is_added_where_the_owner_does_not_want_it(provider: Provider, bob: Owner) -> None:
    """autocrypt=false."""
    provider.decide("set", BOB, "autocrypt=false")
    got = provider.hand_in(mail(BOB), DAVE, BOB)

    assert [] == only(got, DAVE).shown(b"autocrypt")


def test_the_clients_own_field_enrols_where_the_owner_lets_it(
    provider: Provider, sender: str
) -> None:
    """And not where he does not: then mail to him is encrypted to it."""
    with Owner(sender) as writer:
        client_s = b"Autocrypt:" + field(sender, writer.gpg("--export", sender))
        message = mail(sender, b"Hello.\r\n", client_s)
        provider.hand_in(message, DAVE, sender)
        assert in_use(provider, sender) is None
        with pytest.raises(smtplib.SMTPResponseException):
            provider.stack.send(message, sender)

        provider.decide("set", sender, "autocrypt_enrols=true")

        def is_enrolled() -> bool:
            provider.hand_in(mail(sender, b"Hello.\r\n", client_s), DAVE, sender)
            return in_use(provider, sender) == writer.fingerprint

        wait_until(is_enrolled, "enrolled")
        arrived = deliver_one(provider.stack, b"Subject: canary\r\n\r\nx\r\n", sender)
        assert [key_id(writer)] == arrived.key_ids
        assert b"canary" in writer.read(arrived.octets)


def in_use(provider: Provider, address: str) -> str | None:
    """Return the fingerprint of the certificate that mail to `address` is encrypted to."""
    sender = provider.stack.operator.explain(Mailbox.parse(address)).sender
    return None if sender is None else sender.fingerprint


# Mail that does not leave.


def test_between_mailboxes_of_ours_it_rests_as_mail_from_outside_does(
    provider: Provider, alice: Owner
) -> None:
    """The same shape, and who has sent it was seen: that is inside."""
    message = hygienic(mail(BOB))
    (copy,) = provider.hand_in(message, ALICE, BOB, into=[ALICE])[ALICE]
    from_outside = deliver_one(provider.stack, message, ALICE)
    payload = alice.read(copy.octets)

    def names(copy: Delivered) -> list[bytes]:
        return [field.name for field in copy.section if field.name != b"Received"]

    assert copy.is_wrapped
    assert names(from_outside) == names(copy)
    assert from_outside.shown(b"letterlock") == copy.shown(b"letterlock")
    assert message == copy.original(alice)
    assert [b" mx.example.test; auth=pass"] == bodies_of(payload)


def bodies_of(payload: bytes) -> list[bytes]:
    """Return the verdicts in a decrypted payload."""
    return [field.value for field in split(payload)[0].named(b"authentication-results")]


def test_no_word_of_it_rests_anywhere(provider: Provider, sender: str) -> None:
    """Mailboxes, logs, databases, caches, spill directory, open files, queue."""
    canaries = Canaries()
    message = canaries.message(body_octets=2_000_000)
    message = message.replace(b"Eve <eve@outside.test>", sender.encode(), 1)
    to = [ALICE, "info@example.test", "alice@all.test", CAROL, ERIN]
    got = provider.hand_in(message, to, sender, into=[ALICE, BOB, "alice@all.test"])
    layout = provider.stack.layout
    queue = [path for path in layout.queue.rglob("*") if path.is_file()]

    assert {ALICE, BOB, "alice@all.test", CAROL, ERIN} == got.keys()
    assert [] == found([*stored_files(provider.stack), *queue], canaries.words)
    assert not [w for m in got.values() for c in m for w in canaries.words if w in str(c.octets)]


@pytest.mark.parametrize("to", ["new@accept.test", "alice@pass.test"])
def test_what_stays_here_in_the_clear_needs_no_signature(
    provider: Provider, alice: Owner, sender: str, to: str
) -> None:
    """The operator has consented to it, or it was encrypted already; it does not leave."""
    message = pgp_mime(sender, alice, alice) if "pass" in to else mail(sender)
    (copy,) = provider.hand_in(message, to, sender, into=[to])[to]

    assert hygienic(message) == clear(copy)
    assert [] == copy.shown(b"dkim-signature")
