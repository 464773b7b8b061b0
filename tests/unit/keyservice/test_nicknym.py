"""A nickserver is believed about its own domain, as far as TLS goes."""

import asyncio
import json

import pytest

from certificates import ALICE, BOB, armored, sequoia
from fake_net import FakeFetcher
from keyservice import packets
from keyservice.fetch import Cause, FetchFailed, Response
from keyservice.levels import Level, Source
from keyservice.mailbox import Mailbox
from keyservice.methods import Found, NotFound, Rejected, Result, Unavailable
from keyservice.methods.keyserver import Material
from keyservice.methods.nicknym import Nicknym, Statement

ALICES = Mailbox.parse("alice@example.org")
CERTIFICATE = sequoia(ALICE).certificate
ARMORED = armored(CERTIFICATE)
FINGERPRINT = packets.fingerprint(packets.split(CERTIFICATE)[0])
SERVER = "https://nicknym.example.org:6425/"
ADDRESS = f"{SERVER}?address=alice%40example.org"
SIGNATURE = b"-----BEGIN PGP SIGNATURE-----\n\naGVsbG8=\n-----END PGP SIGNATURE-----\n"


def reply(**fields: object) -> bytes:
    """Return a reply; what is not given is as it should be."""
    return json.dumps(
        {"address": "alice@example.org", "openpgp": ARMORED.decode(), **fields}
    ).encode()


def discovered(page: bytes | Response | FetchFailed) -> Result:
    """Return what comes of a server's page about Alice."""
    return asyncio.run(Nicknym(FakeFetcher({ADDRESS: page})).discover(ALICES))


def test_the_mailboxs_own_domain_is_asked() -> None:
    """At its port, by address; over TLS and unsigned that is worth PROVIDER_TRUST."""
    fetcher = FakeFetcher({ADDRESS: reply()})

    found = asyncio.run(Nicknym(fetcher).discover(ALICES))

    assert Statement(ARMORED, Level.PROVIDER_TRUST, ADDRESS, reply(), b"") == found
    assert isinstance(found, Found)
    assert [ADDRESS] == fetcher.asked
    assert ["example.org"] == fetcher.looked_up
    assert Source.NICKNYM is Nicknym.source


def test_a_signed_reply_keeps_its_signature_and_its_level() -> None:
    """Nobody audits the endorser yet, so the signature is kept and raises nothing."""
    found = discovered(reply() + b"\n" + SIGNATURE)

    assert Statement(ARMORED, Level.PROVIDER_TRUST, ADDRESS, reply() + b"\n", SIGNATURE) == found


def test_certificates_of_other_protocols_are_left_alone() -> None:
    """A reply may hold more than OpenPGP."""
    assert isinstance(discovered(reply(otr="x", katzenpost=["y"], rsa=1)), Found)


@pytest.mark.parametrize("address", ["Alice@EXAMPLE.org", "alice@example.org."])
def test_the_address_may_be_spelled_otherwise(address: str) -> None:
    """It is compared as mailboxes are."""
    assert isinstance(discovered(reply(address=address)), Found)


@pytest.mark.parametrize("address", ["bob@example.org", "alice@example.net", "example.org", ""])
def test_a_reply_about_another_address_is_rejected(address: str) -> None:
    """A server that answers something else is not to be believed about this."""
    assert isinstance(discovered(reply(address=address)), Rejected)


@pytest.mark.parametrize("missing", [b"{}", reply(openpgp=None), reply(openpgp="")])
def test_a_reply_without_certificate_is_not_found(missing: bytes) -> None:
    """The reference server says `{}`."""
    assert isinstance(discovered(missing), NotFound)


def test_a_404_is_not_found_whatever_its_body_says() -> None:
    """Some servers send JSON with it, some text."""
    assert isinstance(discovered(Response(404, reply(status=404), ADDRESS)), NotFound)


def test_a_domain_without_nickserver_is_not_found() -> None:
    """As nearly every domain is."""
    assert isinstance(asyncio.run(Nicknym(FakeFetcher()).discover(ALICES)), NotFound)


@pytest.mark.parametrize("cause", [Cause.DNS, Cause.CONNECT, Cause.TLS, Cause.STATUS])
def test_a_nickserver_that_does_not_answer_is_unavailable(cause: Cause) -> None:
    """It may have said something."""
    assert isinstance(discovered(FetchFailed(cause)), Unavailable)


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(b"<html>", id="a web page"),
        pytest.param(reply()[:-9], id="cut short"),
        pytest.param(b"[]", id="no object"),
        pytest.param(reply(openpgp=[1]), id="no text"),
        pytest.param(b'{"x":' + b"[" * 100_000, id="deep"),
        pytest.param(b'{"openpgp":"\\ud800","address":"alice@example.org"}', id="half a character"),
        pytest.param(b'{"openpgp":"\xff"}', id="not UTF-8"),
        pytest.param(SIGNATURE + reply(), id="signature first"),
    ],
)
def test_what_is_not_the_protocol_is_rejected(page: bytes) -> None:
    """And nothing is raised by it."""
    assert isinstance(discovered(page), Rejected)


def test_a_known_certificate_is_refreshed_by_its_fingerprint() -> None:
    """The address in the reply says nothing then: it is material for that certificate."""
    url = f"{SERVER}?fingerprint={FINGERPRINT}"
    nicknym = Nicknym(FakeFetcher({url: reply(address="somebody@example.org")}))

    material = asyncio.run(nicknym.refresh(FINGERPRINT, "example.org"))

    assert isinstance(material, Material)
    assert FINGERPRINT == material.fingerprint


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (reply(openpgp=armored(sequoia(BOB).certificate).decode()), Rejected),
        (b"<html>", Rejected),
        (b"{}", NotFound),
        (FetchFailed(Cause.TLS), Unavailable),
    ],
)
def test_anything_but_the_certificate_asked_for_is_no_material(
    page: bytes | FetchFailed, expected: type
) -> None:
    """By fingerprint, that is what is insisted on."""
    nicknym = Nicknym(FakeFetcher({f"{SERVER}?fingerprint={FINGERPRINT}": page}))

    assert isinstance(asyncio.run(nicknym.refresh(FINGERPRINT, "example.org")), expected)
