"""OPENPGPKEY records from a real Unbound that validates zones signed by BIND's tools."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import pytest

from certificates import sequoia
from keyservice.dns import DnsCause, DnsUnavailable, Proof, ValidatingResolver
from keyservice.levels import Level
from keyservice.mailbox import Mailbox
from keyservice.methods import Found, NotFound, Rejected, Result, Unavailable
from keyservice.methods.openpgpkey import OpenPGPKey, owner_name
from openpgp_tools import GnuPG
from unbound import Signing, Unbound


def owner(local_part: str) -> str:
    """Return the relative owner name of a local part in any of the zones."""
    return owner_name(Mailbox(local_part, "x")).removesuffix(".x")


SMALL, LARGE = "U01BTEw=", "QUFB" * 5_000
RECORDS = f"""\
@ A 9.9.9.9
www A 9.9.9.9
www AAAA 2620:fe::fe
alias CNAME www
gone CNAME nothing
inside CNAME host.inside
host.inside A 10.0.0.1
tampered A 9.9.9.77
{owner("alice")} OPENPGPKEY {SMALL}
{owner("large")} OPENPGPKEY {LARGE}
{owner("two")} OPENPGPKEY {SMALL}
{owner("two")} OPENPGPKEY QUFB
{owner("elsewhere")} CNAME {owner("alice")}.plain.org.
{owner("alias")} CNAME {owner("alice")}
{owner("tampered")} OPENPGPKEY VEFNUEVSRUQ=
"""


class Zones:
    """The resolver, and the certificate that GnuPG wrote into the signed zone."""

    def __init__(self, unbound: Unbound, certificate: bytes) -> None:
        self.unbound = unbound
        self.certificate = certificate

    def resolver(
        self, signed_name: str = "signed.org.", bogus_name: str = "bogus.org."
    ) -> ValidatingResolver:
        """Return a resolver of ours that has proved nothing yet."""
        return ValidatingResolver(
            "127.0.0.1", self.unbound.port, signed_name=signed_name, bogus_name=bogus_name
        )

    def discover(self, text: str) -> Result:
        """Return what the DNS says of a mailbox."""

        async def proved() -> Result:
            resolver = self.resolver()
            assert Proof.PROVED is await resolver.prove()
            return await OpenPGPKey(resolver).discover(Mailbox.parse(text))

        return asyncio.run(proved())


@pytest.fixture(scope="module")
def zones(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zones]:
    """A signed zone, one signed by others, one that is not; a record was changed on the way."""
    certificate = sequoia("Joe <joe@signed.org>").certificate
    with GnuPG.at_home() as gnupg:
        gnupg.run("--import", octets=certificate)
        exported = gnupg.run("--export-options", "export-dane", "--export").decode()
        certificate = gnupg.run("--export")
    contents = {
        "signed.org": (Signing.RIGHT, RECORDS + exported),
        "bogus.org": (Signing.WRONG, RECORDS),
        "plain.org": (Signing.NOT, RECORDS),
    }
    # VEFNUEVSRUQ= is the record of `tampered`; its signature stays.
    tampered = {"signed.org": ("VEFNUEVSRUQ=", "Rk9SR0VEISE=")}
    directory = tmp_path_factory.mktemp("unbound")
    with Unbound(directory, contents, tampered) as running:
        yield Zones(running, certificate)


def test_the_record_that_gnupg_writes_is_found(zones: Zones) -> None:
    """Its owner name, its octets, one certificate."""
    result = zones.discover("joe@signed.org")

    name = f"{owner('joe')}.signed.org"
    assert Found(zones.certificate, Level.PROVIDER_TRUST, name) == result


def test_large_records_come_over_tcp(zones: Zones) -> None:
    """UDP carries 1232 octets of them."""
    result = zones.discover("large@signed.org")

    assert isinstance(result, Found)
    assert b"AAA" * 5_000 == result.octets


def test_all_records_of_a_mailbox_are_found(zones: Zones) -> None:
    """Which of them is used is for others to decide."""
    result = zones.discover("two@signed.org")

    assert isinstance(result, Found)
    assert {b"SMALLAAA", b"AAASMALL"} >= {result.octets}


def test_aliases_are_followed_if_all_of_the_way_is_signed(zones: Zones) -> None:
    """Within the zone, yes; to a zone without signatures, no."""
    assert isinstance(zones.discover("alias@signed.org"), Found)
    assert isinstance(zones.discover("elsewhere@signed.org"), Rejected)


def test_without_signatures_nothing_is_used(zones: Zones) -> None:
    """The reason is told; and there is nothing to be found by an empty answer, either."""
    assert isinstance(zones.discover("alice@plain.org"), Rejected)
    assert isinstance(zones.discover("nobody@plain.org"), NotFound)


@pytest.mark.parametrize("text", ["alice@bogus.org", "nobody@bogus.org", "tampered@signed.org"])
def test_wrong_signatures_are_temporary(zones: Zones, text: str) -> None:
    """Neither a certificate nor its absence can be forged."""
    assert isinstance(zones.discover(text), Unavailable)


def test_absence_is_proved(zones: Zones) -> None:
    """By the zone itself."""
    result = zones.discover("nobody@signed.org")

    assert isinstance(result, NotFound)
    assert "DNSSEC" in result.detail


@pytest.mark.parametrize("text", [f"a@{'b' * 64}.org", f"a@{'b.' * 110}org"])
def test_names_that_do_not_fit_have_no_records(zones: Zones, text: str) -> None:
    """RFC 1035 §2.3.4."""
    assert isinstance(zones.discover(text), NotFound)


def addresses(resolver: ValidatingResolver, host: str) -> list[str]:
    """Return the addresses of `host`."""
    return asyncio.run(resolver.addresses(host))


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("www.signed.org", ["9.9.9.9", "2620:fe::fe"]),
        ("www.plain.org", ["9.9.9.9", "2620:fe::fe"]),
        ("alias.signed.org", ["9.9.9.9", "2620:fe::fe"]),
        ("signed.org", ["9.9.9.9"]),
        ("inside.plain.org", ["10.0.0.1"]),
        ("gone.plain.org", []),
        ("nothing.signed.org", []),
        ("nowhere.net", []),
    ],
)
def test_addresses_need_no_signatures(zones: Zones, host: str, expected: list[str]) -> None:
    """Nor a proof: TLS says who is there."""
    assert expected == addresses(zones.resolver(), host)


def test_wrong_signatures_give_no_address(zones: Zones) -> None:
    """Who has signed wants to be found by that."""
    with pytest.raises(DnsUnavailable) as caught:
        addresses(zones.resolver(), "www.bogus.org")
    assert DnsCause.SERVFAIL is caught.value.cause


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({}, Proof.PROVED),
        ({"signed_name": "plain.org."}, Proof.DISPROVED),
        ({"bogus_name": "signed.org."}, Proof.DISPROVED),
        ({"bogus_name": "plain.org."}, Proof.DISPROVED),
        ({"signed_name": "bogus.org."}, Proof.INCONCLUSIVE),
        ({"signed_name": "nothing.signed.org."}, Proof.INCONCLUSIVE),
    ],
)
def test_validation_is_proved_by_both_names(
    zones: Zones, names: dict[str, str], expected: Proof
) -> None:
    """One that must be authentic, and one that must be refused for its signatures."""
    resolver = zones.resolver(**names)

    assert expected is asyncio.run(resolver.prove())
    assert (expected is Proof.PROVED) is resolver.is_proved


def test_a_resolver_that_does_not_validate_is_found_out(tmp_path: Path) -> None:
    """Records are there, and are not used."""
    contents = {
        "signed.org": (Signing.RIGHT, RECORDS),
        "bogus.org": (Signing.WRONG, RECORDS),
    }
    with Unbound(tmp_path, contents, validating=False) as unbound:
        resolver = Zones(unbound, b"").resolver()

        async def discover() -> tuple[Proof, Result]:
            proof = await resolver.prove()
            return proof, await OpenPGPKey(resolver).discover(Mailbox.parse("alice@signed.org"))

        proof, result = asyncio.run(discover())
    assert Proof.DISPROVED is proof
    assert isinstance(result, Unavailable)
    assert DnsCause.UNPROVED.value in result.detail


class Clock:
    """A clock that a test sets."""

    now = 1_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def test_a_proof_lapses(zones: Zones) -> None:
    """After twenty minutes without another one."""
    clock = Clock()
    resolver = ValidatingResolver(
        "127.0.0.1",
        zones.unbound.port,
        signed_name="signed.org.",
        bogus_name="bogus.org.",
        clock=clock,
    )
    asyncio.run(resolver.prove())
    clock.now += 1_199
    assert resolver.is_proved
    clock.now += 2
    assert not resolver.is_proved


def test_proving_goes_on(zones: Zones) -> None:
    """It begins at once, and tells what became of it."""
    reported: list[Proof] = []

    async def for_a_moment() -> None:
        resolver = zones.resolver()
        proving = asyncio.create_task(resolver.keep_proving(reported.append))
        while not reported:
            await asyncio.sleep(0.01)
        assert resolver.is_proved
        proving.cancel()
        await asyncio.gather(proving, return_exceptions=True)

    asyncio.run(asyncio.wait_for(for_a_moment(), 30))
    assert [Proof.PROVED] == reported


class Liar:
    """Answers each question over UDP with `replies`, and with a response code if it has one."""

    def __init__(self, *replies: bytes, rcode: dns.rcode.Rcode | None = None) -> None:
        self._socket = socket.socket(type=socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self._replies = replies
        self._rcode = rcode
        threading.Thread(target=self._lie, daemon=True).start()

    def close(self) -> None:
        """Stop."""
        self._socket.close()

    def _lie(self) -> None:
        try:
            while True:
                octets, client = self._socket.recvfrom(4096)
                for reply in self._replies:
                    self._socket.sendto(reply, client)
                if self._rcode is not None:
                    response = dns.message.make_response(dns.message.from_wire(octets))
                    response.set_rcode(self._rcode)
                    response.flags |= dns.flags.AD
                    self._socket.sendto(response.to_wire(), client)
        except OSError:
            return


@pytest.mark.parametrize(
    ("liar", "cause"),
    [
        (lambda: Liar(), DnsCause.NO_ANSWER),
        (lambda: Liar(b"", b"nonsense", bytes(600)), DnsCause.NO_ANSWER),
        (lambda: Liar(rcode=dns.rcode.SERVFAIL), DnsCause.SERVFAIL),
        (lambda: Liar(rcode=dns.rcode.REFUSED), DnsCause.ERROR),
    ],
    ids=["silent", "nonsense", "servfail", "refused"],
)
def test_a_resolver_that_does_not_answer_costs_one_deadline(
    liar: Callable[[], Liar], cause: DnsCause
) -> None:
    """And is told apart from one that says no."""
    lying = liar()
    started = time.monotonic()
    try:
        with pytest.raises(DnsUnavailable) as caught:
            addresses(ValidatingResolver("127.0.0.1", lying.port, deadline=2.0), "www.org")
        assert cause is caught.value.cause
        assert time.monotonic() - started < 20
    finally:
        lying.close()


def test_nobody_listens() -> None:
    """No waiting, then."""
    with socket.socket(type=socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    resolver = ValidatingResolver("127.0.0.1", port, deadline=1.0)

    assert Proof.INCONCLUSIVE is asyncio.run(resolver.prove())
    with pytest.raises(DnsUnavailable):
        addresses(resolver, "www.org")
