"""Where the fetcher may go."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forbidden import FORBIDDEN_ADDRESSES, FORBIDDEN_URLS
from keyservice.address_rules import Place, is_public, place, require_public_addresses
from keyservice.fetch import FetchRefused, Forbidden

PUBLIC = ["9.9.9.9", "192.88.98.255", "172.32.0.1", "2620:fe::fe", "2a00::1", "2003::1"]


@pytest.mark.parametrize(("url", "reason"), FORBIDDEN_URLS)
def test_forbidden_forms_are_refused(url: str, reason: Forbidden) -> None:
    """Each with the reason that the operator reads."""
    with pytest.raises(FetchRefused) as caught:
        place(url, 443)

    assert reason is caught.value.reason


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://peer.org", Place("peer.org", 443, "/")),
        ("https://peer.org/", Place("peer.org", 443, "/")),
        ("https://peer.org:443/a", Place("peer.org", 443, "/a")),
        ("HTTPS://Peer.ORG/A?B=%40#c", Place("peer.org", 443, "/A?B=%40")),
        ("https://peer.org?x", Place("peer.org", 443, "/?x")),
        ("https://xn--bcher-kva.org/", Place("xn--bcher-kva.org", 443, "/")),
        ("https://a.b.xn--p1ai/@/a?@:443", Place("a.b.xn--p1ai", 443, "/@/a?@:443")),
        ("https://4.3.2.1.org/", Place("4.3.2.1.org", 443, "/")),
    ],
)
def test_public_names_are_taken_apart(url: str, expected: Place) -> None:
    """Host in lower case, port, and the rest as it was."""
    assert expected == place(url, 443)


def test_another_port_is_for_who_asks_for_it() -> None:
    """Nicknym's is allowed if named by the caller; then 443 is not."""
    assert 6425 == place("https://nicknym.peer.org:6425/", 6425).port
    assert "https://nicknym.peer.org:6425/x" == place("https://nicknym.peer.org:6425/x", 6425).url
    with pytest.raises(FetchRefused):
        place("https://nicknym.peer.org/", 6425)


def test_onion_names_are_for_the_proxy() -> None:
    """Without it they would be asked of the DNS."""
    onion = f"https://{'a' * 56}.onion/"

    assert 443 == place(onion, 443, onion=True).port
    with pytest.raises(FetchRefused):
        place(onion, 443)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_pass(address: str) -> None:
    """As they are."""
    assert (address,) == require_public_addresses([address], lambda _: False)


@pytest.mark.parametrize("address", FORBIDDEN_ADDRESSES)
def test_one_forbidden_address_forbids_all(address: str) -> None:
    """Also beside public ones, first or last."""
    for addresses in ([address], ["9.9.9.9", address], [address, "9.9.9.9"]):
        with pytest.raises(FetchRefused):
            require_public_addresses(addresses, lambda _: False)


def test_our_own_address_is_forbidden() -> None:
    """However public it is."""
    with pytest.raises(FetchRefused):
        require_public_addresses(PUBLIC, lambda address: address == "9.9.9.9")


@given(st.binary(min_size=4, max_size=4).map(IPv4Address))
def test_no_notation_of_an_ipv4_address_is_a_name(address: IPv4Address) -> None:
    """Decimal, octal, hexadecimal, short, mapped: all refused before anybody resolves them."""
    number, parts = int(address), address.packed
    for host in (
        str(address),
        str(number),
        hex(number),
        oct(number).replace("0o", "0"),
        ".".join(map(hex, parts)),
        ".".join(f"0{part:o}" for part in parts),
        f"{parts[0]}.{number & 0xFFFFFF}",
        f"{parts[0]}.{parts[1]}.{number & 0xFFFF}",
        f"[::ffff:{address}]",
    ):
        with pytest.raises(FetchRefused):
            place(f"https://{host}/", 443)


@given(st.binary(min_size=4, max_size=4).map(IPv4Address))
def test_no_ipv6_address_leads_to_an_ipv4_address(address: IPv4Address) -> None:
    """Mapped, compatible, NAT64 (both prefixes), 6to4 and Teredo."""
    number = int(address)
    for prefix in (0, 0xFFFF << 32, 0x64_FF9B << 96, 0x64_FF9B_0001 << 80, 0xFFFF << 48):
        assert not is_public(IPv6Address(prefix | number))
    assert not is_public(IPv6Address(0x2002 << 112 | number << 80 | 1))
    assert not is_public(IPv6Address(0x2001_0000 << 96 | number ^ 0xFFFFFFFF))


@given(st.text(max_size=60))
def test_any_text_is_taken_apart_or_refused(text: str) -> None:
    """There is no third ending."""
    for url in (text, f"https://{text}", f"https://peer.org{text}"):
        try:
            found = place(url, 443)
        except FetchRefused:
            continue
        assert found == place(found.url, 443)


def test_a_very_long_url_is_refused_at_once() -> None:
    """A redirect may be as long as a header section."""
    for tail in ("/" * 90_000, "?" * 90_000, "/#?" * 30_000, "a." * 45_000):
        with pytest.raises(FetchRefused):
            place(f"https://peer.org{tail}\x00", 443)
