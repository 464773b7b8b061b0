"""A keyserver is a source of revocations by fingerprint, and weak evidence by address."""

import asyncio
from collections.abc import Mapping
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certificates import ALICE, BOB, armored, revoked, sequoia
from fake_net import FakeFetcher
from keyservice import packets
from keyservice.armor import dearmor
from keyservice.fetch import Cause, FetchFailed, Response
from keyservice.levels import Level, Source
from keyservice.mailbox import Mailbox
from keyservice.methods import Found, NotFound, Rejected, Result, Unavailable
from keyservice.methods.hkp import CANDIDATES_MAX, HKP
from keyservice.methods.hkp_index import Listed, read
from keyservice.methods.keyserver import Material

ALICES = Mailbox.parse("alice@example.org")
BASE = "https://keys.example.net/pks/lookup"
INDEX = f"{BASE}?op=index&options=mr&exact=on&search=alice%40example.org"
MADE = [sequoia(ALICE) for _ in range(CANDIDATES_MAX + 1)]
A, B = "a" * 40, "b" * 64


def fingerprint(certificate: bytes) -> str:
    """Return the fingerprint of the primary key."""
    return packets.fingerprint(packets.split(certificate)[0])


def get(identity: str) -> str:
    """Return the URL at which a certificate is asked for."""
    return f"{BASE}?op=get&options=mr&exact=on&search=0x{identity}"


def listing(*certificates: bytes, user_id: str = ALICE, flags: str = "") -> bytes:
    """Return an index of certificates that all have one user ID."""
    lines = [f"info:1:{len(certificates)}"]
    for made, certificate in enumerate(certificates):
        lines.append(f"pub:{fingerprint(certificate).upper()}:22:256:{made}::{flags}")
        lines.append(f"uid:{quote(user_id)}:{made}::{flags}")
    return "\r\n".join([*lines, ""]).encode()


def discovered(
    index: bytes | FetchFailed, pages: Mapping[str, bytes | Response | FetchFailed] | None = None
) -> Result:
    """Return what a server with that index and those certificates says about Alice."""
    fetcher = FakeFetcher({INDEX: index, **(pages or {})})
    return asyncio.run(HKP(fetcher, "keys.example.net").discover(ALICES))


def test_an_address_leads_to_weak_evidence() -> None:
    """Index first, then the certificate by its fingerprint, all for the sake of one domain."""
    certificate = MADE[0].certificate
    fetcher = FakeFetcher(
        {INDEX: listing(certificate), get(fingerprint(certificate)): armored(certificate)}
    )

    found = asyncio.run(HKP(fetcher, "keys.example.net").discover(ALICES))

    assert isinstance(found, Found)
    assert Level.WEAK_CHAIN is found.level
    assert packets.split(certificate) == packets.split(found.octets)
    assert [INDEX, get(fingerprint(certificate))] == fetcher.asked
    assert ["example.org", "example.org"] == fetcher.looked_up
    assert Source.HKP is HKP.source


def test_of_several_certificates_none_is_preferred() -> None:
    """Who uploads last does not win: all are evidence, and the decision is not made here."""
    pair = [MADE[0].certificate, MADE[1].certificate]
    pages = {get(fingerprint(each)): each for each in pair}

    forward, backward = discovered(listing(*pair), pages), discovered(listing(*pair[::-1]), pages)

    assert isinstance(forward, Found)
    assert isinstance(backward, Found)
    both = {fingerprint(each) for each in pair}
    for found in (forward, backward):
        keys = [p for p in packets.split(found.octets) if p.tag == packets.PUBLIC_KEY]
        assert both == {packets.fingerprint(key) for key in keys}


def test_a_flood_of_certificates_is_rejected() -> None:
    """Rather than choosing the ones that the flooder made first or last."""
    assert isinstance(discovered(listing(*(made.certificate for made in MADE))), Rejected)


def test_one_of_several_that_cannot_be_fetched_leaves_no_choice() -> None:
    """What is left would be a choice made by whoever broke the other."""
    one, other = MADE[0].certificate, MADE[1].certificate
    pages: dict[str, bytes | FetchFailed] = {
        get(fingerprint(one)): one,
        get(fingerprint(other)): FetchFailed(Cause.TOO_LARGE),
    }

    assert isinstance(discovered(listing(one, other), pages), Unavailable)


@pytest.mark.parametrize(
    "user_id",
    ["malice@example.org", "alice@example.org.example.net", f"{ALICE} {BOB}", "alice", ""],
)
def test_only_exactly_this_address_counts(user_id: str) -> None:
    """Servers search for parts of words, whatever `exact` asks for."""
    fetcher = FakeFetcher({INDEX: listing(MADE[0].certificate, user_id=user_id)})

    assert isinstance(asyncio.run(HKP(fetcher, "keys.example.net").discover(ALICES)), NotFound)
    assert [INDEX] == fetcher.asked


@pytest.mark.parametrize("flags", ["r", "e", "d", "re"])
def test_withdrawn_certificates_are_no_candidates(flags: str) -> None:
    """Revoked, expired or disabled: seen, and not to be used for first contact."""
    index = f"pub:{A}:1:2048:0::{flags}\nuid:{ALICE}:0::\n".encode()

    assert isinstance(discovered(index), Rejected)


def test_a_server_without_the_address_says_not_found() -> None:
    """404, or an empty index."""
    assert isinstance(discovered(b"info:1:0\n"), NotFound)
    assert isinstance(
        asyncio.run(HKP(FakeFetcher({get(A): b"x"}), "keys.example.net").discover(ALICES)),
        NotFound,
    )


@pytest.mark.parametrize("cause", [Cause.STATUS, Cause.NO_SUCH_HOST, Cause.DEADLINE])
def test_a_server_that_does_not_answer_is_unavailable(cause: Cause) -> None:
    """It says nothing about the address."""
    assert isinstance(discovered(FetchFailed(cause)), Unavailable)


def test_a_known_certificate_is_refreshed_by_its_fingerprint() -> None:
    """The revocation that its owner uploaded is learned, whatever the server is worth."""
    identity = fingerprint(MADE[0].certificate)
    withdrawn = armored(revoked(MADE[0]))
    fetcher = FakeFetcher({get(identity): withdrawn})

    material = asyncio.run(HKP(fetcher, "keys.example.net").refresh(identity))

    assert isinstance(material, Material)
    assert identity == material.fingerprint
    assert packets.split(dearmor(withdrawn)) == packets.split(material.octets)


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(MADE[1].certificate, id="another certificate"),
        pytest.param(MADE[0].certificate + MADE[1].certificate, id="another one behind it"),
        pytest.param(
            armored(MADE[0].certificate) + armored(MADE[1].certificate), id="in two blocks"
        ),
        pytest.param(MADE[0].secret, id="a secret key"),
    ],
)
def test_anything_but_the_certificate_asked_for_is_rejected(octets: bytes) -> None:
    """The reply must be that certificate and nothing else."""
    identity = fingerprint(MADE[0].certificate)

    refreshed = HKP(FakeFetcher({get(identity): octets}), "keys.example.net").refresh(identity)

    assert isinstance(asyncio.run(refreshed), Rejected)


@pytest.mark.parametrize(
    ("index", "listed"),
    [
        (f"pub:{A}:1:2048:0::\nuid:{ALICE}:0::\n", [Listed(A, (ALICES.key,), False)]),
        (f"pub:0x{B.upper()}\r\nuid:{quote(ALICE)}\r\n", [Listed(B, (ALICES.key,), False)]),
        (f"pub:{A}:1::::r\n", [Listed(A, (), True)]),
        (f"pub:{A}\nuid:alice%3Cx%3E%40example.org\n", [Listed(A, (), False)]),
        (
            f"pub:{A}\nuid:{ALICE}:0::r\nuid:bob%40example.org\n",
            [Listed(A, ("bob@example.org",), False)],
        ),
        (f"pub:{A}\nuid:{'a' * 1100} {ALICE}\n", [Listed(A, (), False)]),
        (f"pub:{A}\nuat::::\nsub:x\nuid\nuid:%ff%fe\n\n", [Listed(A, (), False)]),
        ("pub:0123456789abcdef:1\nuid:alice@example.org\n", []),
        (f"uid:{ALICE}\npub\npub:\ninfo\n", []),
        ("<html>Not an index</html>", []),
        ("", []),
    ],
)
def test_an_index_is_read_as_far_as_it_makes_sense(index: str, listed: list[Listed]) -> None:
    """Lines without meaning, with fewer fields or with more, do no harm to the others."""
    assert listed == read(index.encode())


@given(st.binary(max_size=200) | st.text(alphabet="pubid:%4\nar@.").map(str.encode))
def test_reading_an_index_never_fails(index: bytes) -> None:
    """Any octets are a list."""
    assert isinstance(read(index), list)
