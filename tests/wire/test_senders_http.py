"""Mailboxes of ours that send: the real process, and the client against ones that misbehave."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from autocrypt_mail import field, five_of, five_packets
from certificates import gallery, sequoia
from fake_keyservice import FakeKeyService
from keyservice.autocrypt import PreferEncrypt
from keyservice.client import (
    SENDER_HELD_MAX,
    Mailbox,
    Outcome,
    Outgoing,
    PeerClient,
    Report,
    Sender,
    SenderClient,
    ServiceRefused,
    Submitted,
    Taking,
    VerifiedSignature,
)
from keyservice.levels import Level
from keyservice.packets import fingerprint, split
from keyservice_process import KeyServiceProcess

ALICE = Mailbox.parse("alice@example.org")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyServiceProcess]:
    """A key service for example.org, which has settings of its own."""
    domains = {"example.org": {"outgoing": "required", "outgoing_level": 3, "copy_to_self": True}}
    with KeyServiceProcess(tmp_path_factory.mktemp("k"), domains) as service:
        yield service


@pytest.fixture
def http(service: KeyServiceProcess) -> Iterator[httpx.Client]:
    """A stranger that speaks HTTP over the socket."""
    transport = httpx.HTTPTransport(uds=str(service.socket))
    with httpx.Client(transport=transport, base_url="http://k") as client:
        yield client


def submission(address: str, certificate: bytes) -> Submitted:
    """Return a message of `address` with an Autocrypt field."""
    now = int(time.time())
    return Submitted(
        from_fields=1,
        from_addresses=(address,),
        received_at=now,
        date=now,
        autocrypt_fields=(field(address, certificate),),
    )


def test_the_domain_decides_and_the_mailbox_overrides(service: KeyServiceProcess) -> None:
    """Over HTTP, with a source for each setting."""
    mailbox = Mailbox.parse("carol@example.org")
    before = SenderClient(service.url).sender(mailbox)
    view = service.operator.set_policy(mailbox, {"outgoing": "never", "prefer_encrypt": "mutual"})
    after = SenderClient(service.url).sender(mailbox)
    back = service.operator.unset_policy(mailbox, "outgoing")

    assert before is not None
    assert after is not None
    assert (Outgoing.REQUIRED, Level.PROVIDER_ENDORSEMENT, True) == (
        before.policy.outgoing,
        before.policy.outgoing_level,
        before.policy.copy_to_self,
    )
    assert (Outgoing.NEVER, PreferEncrypt.MUTUAL) == (
        after.policy.outgoing,
        after.policy.prefer_encrypt,
    )
    assert ("mailbox", "domain", "default") == (
        view.sources["outgoing"].value,
        view.sources["copy_to_self"].value,
        view.sources["autocrypt"].value,
    )
    assert Outgoing.REQUIRED is back.sender_policy.outgoing


def test_a_setting_that_makes_no_sense_is_named(service: KeyServiceProcess) -> None:
    """Whoever types it reads which one it was."""
    with pytest.raises(ServiceRefused) as refused:
        service.operator.set_policy(ALICE, {"outgoing": "sometimes"})

    assert "outgoing: " in refused.value.reason


def test_a_certificate_is_told_as_long_as_it_is_in_use(service: KeyServiceProcess) -> None:
    """With five packets for the field; a client that holds nothing yet sees each change."""
    enrolled = service.operator.enrol(ALICE, gallery()["gnupg"])
    in_use = SenderClient(service.url).sender(ALICE)
    service.operator.withdraw(ALICE)
    gone = SenderClient(service.url).sender(ALICE)

    assert in_use is not None
    assert in_use.keydata is not None
    assert (enrolled.fingerprint, enrolled.fingerprint) == (
        in_use.fingerprint,
        fingerprint(split(in_use.keydata)[0]),
    )
    assert gone is not None
    assert (None, (), None) == (gone.fingerprint, gone.subkeys, gone.keydata)


def test_the_owners_program_enrols_if_it_may(service: KeyServiceProcess) -> None:
    """Vetted in the child, decided, used; and told from then on."""
    mailbox = Mailbox.parse("erin@example.org")
    client = SenderClient(service.url)
    octets = five_packets("Erin <erin@example.org>")
    disabled = client.autocrypt(mailbox, submission(mailbox.key, octets))
    service.operator.set_policy(mailbox, {"autocrypt_enrols": True})
    enrolled = client.autocrypt(mailbox, submission(mailbox.key, octets))
    vetted = service.metric('keyservice_vettings_total{reason="",result="usable"}')
    again = client.autocrypt(mailbox, submission(mailbox.key, octets))
    time.sleep(1.1)  # another one was named after a message of the same second
    other = five_of(sequoia("Erin <erin@example.org>").certificate)
    waits = client.autocrypt(mailbox, submission(mailbox.key, other))

    replies = (disabled, enrolled, again, waits)
    assert [Taking.DISABLED, Taking.ENROLLED, Taking.UNCHANGED, Taking.WAITS] == [
        reply and reply.taking for reply in replies
    ]
    sender, answer = client.sender(mailbox), service.client().lookup(mailbox)
    assert sender is not None
    assert fingerprint(split(octets)[0]) == sender.fingerprint == answer.fingerprint
    assert vetted + 1 == service.metric('keyservice_vettings_total{reason="",result="usable"}')
    assert 1 == service.metric('keyservice_submissions_total{result="waits"}')
    story = service.operator.explain(mailbox)
    assert {("submission", 2)} == {(seen.source, seen.level) for seen in story.evidence}


FORGED = {
    "signed by our own domain": {},
    "unsigned": {"signatures": ()},
    "two fields": {"autocrypt_fields": (b"x", b"y")},
    "in capitals": {"from_addresses": ("MALLORY.s.Victim@EXAMPLE.ORG",)},
    "with a final dot": {"from_addresses": ("mallory.s.victim@example.org.",)},
    "two authors": {"from_addresses": ("mallory@example.net", "mallory.s.victim@example.org")},
    "attached": {"autocrypt_fields": (), "attached": (gallery()["alice"],)},
    "a hint": {"autocrypt_fields": (), "openpgp_fields": (b" id=" + b"AB" * 20,)},
}


@pytest.mark.parametrize("how", FORGED)
def test_mail_from_outside_never_enrols_for_us(service: KeyServiceProcess, how: str) -> None:
    """Though this mailbox lets its own program do so: what comes in was not submitted."""
    victim = Mailbox.parse("mallory.s.victim@example.org")
    service.operator.set_policy(victim, {"autocrypt_enrols": True})
    before = service.operator.explain(victim)
    signed = VerifiedSignature(
        domain="example.org", signed_fields=("from", "autocrypt"), has_body_length=False
    )
    report = Report(
        from_fields=1,
        from_addresses=(victim.key,),
        received_at=int(time.time()),
        signatures=(signed,),
        is_spam=False,
        autocrypt_fields=(field(victim.key, five_packets(victim.key)),),
    )
    reported = PeerClient(service.url).report(msgspec.structs.replace(report, **FORGED[how]))
    after = service.operator.explain(victim)

    assert reported is not None
    assert reported.refused is not None
    assert () == reported.noted
    assert (Outcome.NOT_FOUND, (), ()) == (after.outcome, after.evidence, after.bindings)
    assert not after.had_certificate
    assert before.events == after.events


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "error"),
    [
        ("GET", "/v1/senders/nobody", b"", 400, "invalid_mailbox"),
        ("POST", "/v1/senders/nobody/autocrypt", b"{}", 400, "bad_request"),
        ("POST", "/v1/senders/a@example.org/autocrypt", b"{", 400, "bad_request"),
        (
            "POST",
            "/v1/senders/a@example.net/autocrypt",
            b'{"from_fields": 1, "from_addresses": [], "received_at": 0}',
            422,
            "outside_domain",
        ),
        ("POST", "/v1/senders/a@example.org/autocrypt", b" " * 1_100_000, 413, "too_large"),
        ("PUT", "/v1/senders/a@example.org", b"", 405, "no_such_method"),
    ],
)
def test_errors_are_typed(
    http: httpx.Client, method: str, path: str, content: bytes, status: int, error: str
) -> None:
    """As everywhere else."""
    reply = http.request(method, path, content=content)

    assert (status, error) == (reply.status_code, reply.json()["error"])


class Moment:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = time.monotonic()

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeKeyService]:
    """A key service that knows alice@example.org and counts who asks."""
    with FakeKeyService(tmp_path / "k.sock") as fake:
        fake.say = lambda key: msgspec.json.encode(Sender(mailbox=key, is_ours=True))
        yield fake


def counting(fake: FakeKeyService) -> list[str]:
    """Return a list that grows with each question."""
    asked: list[str] = []
    say = fake.say

    def count(key: str) -> bytes:
        asked.append(key)
        return say(key)

    fake.say = count
    return asked


def test_a_sender_is_held_for_five_seconds(fake: FakeKeyService) -> None:
    """No longer: then what was revoked is."""
    moment, asked = Moment(), counting(fake)
    client = SenderClient(f"unix:{fake.path}", clock=moment)
    for seconds in (0, SENDER_HELD_MAX - 0.1, 0.2):
        moment.now += seconds
        assert client.sender(ALICE) is not None

    assert 5 == SENDER_HELD_MAX
    assert 2 == len(asked)
    assert client.sender(ALICE, anew=True) is not None
    assert 3 == len(asked)


NONSENSE: dict[str, Callable[[str], bytes]] = {
    "not JSON": lambda _: b"yes",
    "another record": lambda _: b'{"status": "ok"}',
    "a field more": lambda key: b'{"mailbox": "%s", "is_ours": true, "x": 1}' % key.encode(),
    "another mailbox": lambda _: b'{"mailbox": "bob@example.org", "is_ours": true}',
    "a level that is none": lambda key: (
        b'{"mailbox": "%s", "is_ours": true, "policy": {"outgoing_level": 0}}' % key.encode()
    ),
}


@pytest.mark.parametrize("what", NONSENSE)
def test_nonsense_is_no_answer(fake: FakeKeyService, what: str) -> None:
    """And is not held: the next one may be sensible."""
    sense, fake.say = fake.say, NONSENSE[what]
    client = SenderClient(f"unix:{fake.path}")
    assert client.sender(ALICE) is None
    fake.say = sense

    assert client.sender(ALICE) is not None


def test_an_error_is_no_answer(fake: FakeKeyService) -> None:
    """Nor is silence, nor is nobody there."""
    fake.status = 500
    assert SenderClient(f"unix:{fake.path}").sender(ALICE) is None
    nobody = SenderClient("unix:/nowhere/k.sock")
    assert nobody.sender(ALICE) is None
    assert nobody.autocrypt(ALICE, submission(ALICE.key, b"")) is None
    hangs = threading.Event()

    def hang(_: str) -> bytes:
        hangs.wait(60)
        return b""

    fake.status, fake.say = 200, hang
    started = time.monotonic()
    assert SenderClient(f"unix:{fake.path}", deadline=0.3).sender(ALICE) is None
    assert time.monotonic() - started < 20
    hangs.set()
