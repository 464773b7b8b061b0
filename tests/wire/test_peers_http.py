"""Mailboxes of others over the real process: reports, answers, and every malformed address."""

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import msgspec
import pysequoia
import pytest

from autocrypt_mail import field, five_of, five_packets
from certificates import gallery, sequoia
from keyservice.autocrypt_peer import UIRecommendation
from keyservice.client import (
    Mailbox,
    PeerClient,
    PeerOutcome,
    Report,
    ServiceRefused,
    Use,
    VerifiedSignature,
)
from keyservice.levels import Level, Source
from keyservice.packets import fingerprint, split
from keyservice_process import KeyServiceProcess

PEER = Mailbox.parse("alice@example.net")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyServiceProcess]:
    """A key service for example.org that asks nobody."""
    with KeyServiceProcess(tmp_path_factory.mktemp("k")) as service:
        yield service


@pytest.fixture
def http(service: KeyServiceProcess) -> Iterator[httpx.Client]:
    """A stranger that speaks HTTP over the socket."""
    transport = httpx.HTTPTransport(uds=str(service.socket))
    with httpx.Client(transport=transport, base_url="http://k") as client:
        yield client


def message(address: str, **changes: object) -> Report:
    """Return a message whose Autocrypt field its domain vouches for."""
    domain = address.rpartition("@")[2]
    signed = VerifiedSignature(
        domain=domain, signed_fields=("from", "autocrypt"), has_body_length=False
    )
    report = Report(
        from_fields=1,
        from_addresses=(address,),
        received_at=int(time.time()),
        signatures=(signed,),
        is_spam=False,
        autocrypt_fields=(field(address, five_packets(address)),),
    )
    return msgspec.structs.replace(report, **changes)


def test_mail_makes_a_peer_and_a_restart_keeps_it(tmp_path: Path) -> None:
    """Reported, vetted in the child, decided, used; the database is all it needs."""
    service = KeyServiceProcess(tmp_path)
    client = PeerClient(service.url)
    with service:
        reported = client.report(message(str(PEER)))
        found = client.lookup(PEER)
        assert found.fingerprint is not None
        use = Use(fingerprint=found.fingerprint, encrypted_to=True, possession_proved=True)
        assert client.used(PEER, use).is_used
    assert PeerOutcome.UNREACHABLE is PeerClient(service.url).lookup(PEER).outcome
    assert client.report(message(str(PEER))) is None
    with service:
        again = PeerClient(service.url).lookup(PEER)

    assert reported is not None
    assert [Source.AUTOCRYPT] == [noted.source for noted in reported.noted]
    assert (PeerOutcome.FOUND, Level.PROVIDER_TRUST) == (found.outcome, found.level)
    assert found.autocrypt is not None
    assert UIRecommendation.AVAILABLE is found.autocrypt.recommendation
    assert (found.fingerprint, found.subkeys, True) == (
        again.fingerprint,
        again.subkeys,
        again.is_used,
    )


def test_a_transition_is_verified_in_the_child(service: KeyServiceProcess) -> None:
    """Both verifiers fit into its limits: the certified certificate replaces the old one."""
    address = "moving@example.net"
    old, new = sequoia(address), sequoia(address)
    certified = pysequoia.Cert.from_bytes(new.certificate).add_user_id(
        value=f"Moving <{address}>",
        certifier=pysequoia.Tsk.from_bytes(old.secret).certifier(),
    )
    client, mailbox = PeerClient(service.url), Mailbox.parse(address)
    client.report(message(address, autocrypt_fields=(field(address, five_of(old.certificate)),)))
    before = PeerClient(service.url).lookup(mailbox)
    time.sleep(1.1)  # a certification of this very second is not from the future
    client.report(message(address, autocrypt_fields=(), attached=(bytes(certified),)))
    after = client.lookup(mailbox)

    assert identity(old.certificate) == before.fingerprint
    assert identity(new.certificate) == after.fingerprint
    assert before.level is after.level is Level.PROVIDER_TRUST


def identity(octets: bytes) -> str:
    """Return a certificate's fingerprint."""
    return fingerprint(split(octets)[0])


def test_the_operator_reads_the_whole_story(service: KeyServiceProcess) -> None:
    """Of a mailbox that is nobody's here, too; a conflict is in it, in words."""
    address = "story@example.net"
    client = PeerClient(service.url)
    client.report(message(address))
    other = sequoia(address).certificate
    client.report(message(address, autocrypt_fields=(), attached=(other,)))
    story = service.operator.explain(Mailbox.parse(address))

    assert not story.is_ours
    assert (None, {}) == (story.policy, story.policy_sources)
    assert {"autocrypt", "attached"} == {sighting.source for sighting in story.evidence}
    assert any(identity(other) in decision for decision in story.decisions)
    assert {"enrolled", "conflict"} == {event.kind for event in story.events}
    assert 1 == sum(
        service.metric(f'keyservice_conflicts_total{{reason="{reason}"}}')
        for reason in ("weaker", "in_force", "wait")
    )


def test_a_replacement_waits_unless_it_is_confirmed(service: KeyServiceProcess) -> None:
    """Over HTTP, by the operator's client."""
    mailbox, operator = Mailbox.parse("alice@example.org"), service.operator
    first = operator.enrol(mailbox, gallery()["alice"])
    second = operator.enrol(mailbox, gallery()["gnupg"])
    assert (first.fingerprint, second.waits_for) == (
        service.client().lookup(mailbox).fingerprint,
        first.fingerprint,
    )
    assert second.waits_until is not None
    assert second.waits_until > time.time() + 6 * 86_400
    with pytest.raises(ServiceRefused) as refused:
        operator.enrol(mailbox, gallery()["gnupg"], first.fingerprint)
    assert "other_certificate" == refused.value.error
    confirmed = operator.enrol(mailbox, gallery()["gnupg"], second.fingerprint)

    assert (first.fingerprint, None) == (confirmed.replaced, confirmed.waits_until)
    assert second.fingerprint == service.client().lookup(mailbox).fingerprint


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("Alice@Example.NET", "alice@example.net"),
        ("alice+lists@example.net", "alice+lists@example.net"),
        ("alice@example.net.", "alice@example.net"),
        ("alice@bücher.example", "alice@xn--bcher-kva.example"),
        ("alice@xn--bcher-kva.example", "alice@xn--bcher-kva.example"),
        ("ä@example.net", "ä@example.net"),
        ("Ä@example.net", "Ä@example.net"),
        ("o'hara@example.net", "o'hara@example.net"),
        ("a/b@example.net", "a/b@example.net"),
        ("a" * 64 + "@example.net", "a" * 64 + "@example.net"),
        ("alice@sub.example.org", "alice@sub.example.org"),
    ],
)
def test_every_address_has_one_form(http: httpx.Client, written: str, key: str) -> None:
    """ASCII case does not matter, domains are A-labels, an extension is another mailbox."""
    reply = http.get(f"/v1/peers/{quote(written, safe='')}")

    assert (200, key, "not_found") == (
        reply.status_code,
        reply.json()["mailbox"],
        reply.json()["outcome"],
    )


@pytest.mark.parametrize(
    "written",
    [
        '"alice"@example.net',
        '"a b"@example.net',
        "a b@example.net",
        "alice @example.net",
        "alice@example.net ",
        "a" * 65 + "@example.net",
        "ä" * 33 + "@example.net",
        "alice@" + "a." * 128 + "example",
        "alice",
        "@example.net",
        "alice@",
        "alice@@example.net",
        "a@b@example.net",
        "alice@[192.0.2.1]",
        "alice@exa mple.net",
        "alice@☃.example",
        "alice@xn--.exa\u0000mple",
        "<alice@example.net>",
        "alice@example..net",
        "a,b@example.net",
        "a\r\nb@example.net",
    ],
)
def test_what_is_no_mailbox_is_refused(http: httpx.Client, written: str) -> None:
    """400 with a word and a sentence, on every path; nobody is asked."""
    path = quote(written, safe="")
    for method, target in (
        ("GET", f"/v1/peers/{path}"),
        ("POST", f"/v1/peers/{path}/discover"),
        ("GET", f"/v1/mailboxes/{path}"),
        ("GET", f"/v1/mailboxes/{path}/explanation"),
    ):
        reply = http.request(method, target)
        assert (400, "invalid_mailbox") == (reply.status_code, reply.json()["error"]), target


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "error"),
    [
        ("GET", "/v1/peers/alice@example.org", b"", 422, "local_mailbox"),
        ("POST", "/v1/peers/alice@example.org/discover", b"", 422, "local_mailbox"),
        ("POST", "/v1/peers/a@example.net/used", b"{}", 400, "bad_request"),
        (
            "POST",
            "/v1/peers/a@example.net/used",
            b'{"fingerprint": "00", "encrypted_to": true}',
            422,
            "other_certificate",
        ),
        ("POST", "/v1/sightings", b"{", 400, "bad_request"),
        ("POST", "/v1/sightings", b'{"from_fields": 1}', 400, "bad_request"),
        ("POST", "/v1/sightings", b"x" * 1_100_000, 413, "too_large"),
        ("GET", "/v1/sightings", b"", 405, "no_such_method"),
        (
            "PUT",
            "/v1/mailboxes/a@example.org/certificate?confirmed=XYZ",
            b"x",
            400,
            "bad_request",
        ),
    ],
)
def test_errors_are_typed(
    http: httpx.Client, method: str, path: str, content: bytes, status: int, error: str
) -> None:
    """As everywhere else."""
    reply = http.request(method, path, content=content)

    assert (status, error) == (reply.status_code, reply.json()["error"])
    assert {"error", "reason"} == set(reply.json())


def test_the_deadline_is_one_for_all(tmp_path: Path) -> None:
    """A service that hangs is unreachable in time, and nothing else is said about the mailbox."""
    service = KeyServiceProcess(tmp_path).start()
    service.pause()
    try:
        started = time.monotonic()
        answer = PeerClient(service.url, deadline=0.5).lookup(PEER)
        # By default it would be eight seconds.
        assert time.monotonic() - started < 6
        assert PeerOutcome.UNREACHABLE is answer.outcome
    finally:
        service.resume()
        service.stop()
