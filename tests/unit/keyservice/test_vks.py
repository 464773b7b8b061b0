"""A verifying keyserver is asked by address and by fingerprint, and believed as far as that."""

import asyncio

import pytest

from certificates import ALICE, BOB, armored, packet_groups, revoked, sequoia
from fake_net import FakeFetcher
from keyservice import packets
from keyservice.fetch import Cause, FetchFailed, FetchRefused, Forbidden, Response
from keyservice.levels import Level, Source
from keyservice.mailbox import Mailbox
from keyservice.methods import Found, NotFound, Rejected, Unavailable
from keyservice.methods.keyserver import Material
from keyservice.methods.vks import VKS

ALICES = Mailbox.parse("Alice+news@Example.org")
MADE = sequoia(ALICE)
CERTIFICATE = MADE.certificate
FINGERPRINT = packets.fingerprint(packets.split(CERTIFICATE)[0])
BASE = "https://keys.example.net/vks/v1"
BY_EMAIL = f"{BASE}/by-email/alice%2Bnews%40example.org"
BY_FINGERPRINT = f"{BASE}/by-fingerprint/{FINGERPRINT.upper()}"
BY_KEY_ID = f"{BASE}/by-keyid/{FINGERPRINT[-16:].upper()}"


def vks(url: str, page: bytes | Response | FetchFailed | FetchRefused) -> VKS:
    """Return a server with one page."""
    return VKS(FakeFetcher({url: page}), "keys.example.net")


def without_user_ids(certificate: bytes) -> bytes:
    """Return a revoked certificate as the server shows it: primary key and its signatures."""
    return b"".join(packet_groups(certificate)[0])


def test_an_address_is_asked_for_exactly() -> None:
    """What comes is the server's own word, unread, and worth PROVIDER_TRUST."""
    fetcher = FakeFetcher({BY_EMAIL: armored(CERTIFICATE)})

    found = asyncio.run(VKS(fetcher, "keys.example.net").discover(ALICES))

    assert Found(armored(CERTIFICATE), Level.PROVIDER_TRUST, BY_EMAIL) == found
    assert [BY_EMAIL] == fetcher.asked
    assert ["example.org"] == fetcher.looked_up
    assert Source.VKS is VKS.source


def test_an_address_that_nobody_verified_is_not_found() -> None:
    """The server says so with 404."""
    result = asyncio.run(vks(BY_FINGERPRINT, b"x").discover(ALICES))

    assert isinstance(result, NotFound)


@pytest.mark.parametrize("cause", [Cause.STATUS, Cause.NO_SUCH_HOST, Cause.TLS, Cause.TOO_LARGE])
def test_a_server_that_does_not_answer_is_unavailable(cause: Cause) -> None:
    """429, 503 and a server that cannot be reached say nothing about the address."""
    result = asyncio.run(vks(BY_EMAIL, FetchFailed(cause)).discover(ALICES))

    assert isinstance(result, Unavailable)


@pytest.mark.parametrize("status", [400, 429, 500, 503])
def test_a_status_that_is_no_answer_is_unavailable(status: int) -> None:
    """Limits on the rate of questions are ordinary: one address a minute."""
    result = asyncio.run(vks(BY_EMAIL, Response(status, b"", BY_EMAIL)).discover(ALICES))

    assert isinstance(result, Unavailable)


def test_a_server_that_must_not_be_contacted_is_rejected() -> None:
    """The operator named one that is not public."""
    result = asyncio.run(vks(BY_EMAIL, FetchRefused(Forbidden.ADDRESS)).discover(ALICES))

    assert isinstance(result, Rejected)


def test_a_known_certificate_is_refreshed_by_its_fingerprint() -> None:
    """A revocation comes without user IDs, and is material for that certificate only."""
    octets = without_user_ids(revoked(MADE))
    server = vks(BY_FINGERPRINT, octets)

    material = asyncio.run(server.refresh(FINGERPRINT))

    assert isinstance(material, Material)
    assert FINGERPRINT == material.fingerprint
    assert packets.split(octets) == packets.split(material.octets)


def test_material_can_never_be_first_contact() -> None:
    """It is another type than what discovery finds, and has no level."""
    material = asyncio.run(vks(BY_FINGERPRINT, CERTIFICATE).refresh(FINGERPRINT))

    assert not isinstance(material, Found)
    assert not hasattr(material, "level")


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(sequoia(BOB).certificate, id="another certificate"),
        pytest.param(CERTIFICATE + sequoia(BOB).certificate, id="another one behind it"),
        pytest.param(MADE.secret, id="a secret key"),
        pytest.param(CERTIFICATE[:-9], id="cut short"),
        pytest.param(b"<html>", id="a web page"),
    ],
)
def test_anything_but_the_certificate_asked_for_is_rejected(octets: bytes) -> None:
    """By fingerprint and by key ID."""
    by_fingerprint = vks(BY_FINGERPRINT, octets).refresh(FINGERPRINT)
    by_key_id = vks(BY_KEY_ID, octets).candidate(FINGERPRINT[-16:])

    assert isinstance(asyncio.run(by_fingerprint), Rejected)
    assert isinstance(asyncio.run(by_key_id), Rejected)


def test_a_key_id_gives_a_candidate_with_its_fingerprint() -> None:
    """So that the caller can see whether it is one that he knew."""
    candidate = asyncio.run(vks(BY_KEY_ID, CERTIFICATE).candidate(FINGERPRINT[-16:]))

    assert isinstance(candidate, Material)
    assert FINGERPRINT == candidate.fingerprint
