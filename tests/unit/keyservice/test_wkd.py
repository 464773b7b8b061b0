"""Which URLs a Web Key Directory is asked, and what its answers mean."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_net import FakeFetcher
from keyservice.fetch import Cause, FetchFailed, FetchRefused, Forbidden, Response
from keyservice.levels import Level, Source
from keyservice.mailbox import Mailbox
from keyservice.methods import Found, NotFound, Rejected, Result, Unavailable
from keyservice.methods.wkd import WKD, Policy, Variant, read_policy, request_uri

JOE = Mailbox.parse("Joe.Doe@Example.ORG")
HASHED = "iy9q119eutrkn8s1mk4r39qejnbu3n5q"
ADVANCED = f"https://openpgpkey.example.org/.well-known/openpgpkey/example.org/hu/{HASHED}"
DIRECT = f"https://example.org/.well-known/openpgpkey/hu/{HASHED}"


def discover(fetcher: FakeFetcher) -> Result:
    """Return what a directory says of Joe."""
    return asyncio.run(WKD(fetcher).discover(JOE))


def test_the_uris_of_the_draft() -> None:
    """The example of draft-koch §3.1: hash of the lower case, `l` as written."""
    assert f"{ADVANCED}?l=Joe.Doe" == request_uri(JOE, Variant.ADVANCED)
    assert f"{DIRECT}?l=Joe.Doe" == request_uri(JOE, Variant.DIRECT)


@pytest.mark.parametrize(
    ("local_part", "escaped"),
    [
        ("a+b", "a%2Bb"),
        ("a/b?c#d", "a%2Fb%3Fc%23d"),
        ("a&l=b", "a%26l%3Db"),
        ("100%", "100%25"),
        ("käthe", "k%C3%A4the"),
        ("o'hara~_-.x", "o%27hara~_-.x"),
    ],
)
def test_the_local_part_is_percent_encoded(local_part: str, escaped: str) -> None:
    """All but the unreserved characters (RFC 3986 §2.3)."""
    uri = request_uri(Mailbox.parse(f"{local_part}@example.org"), Variant.DIRECT)

    assert escaped == uri.partition("?l=")[2]


@given(st.text("abcKÄß.+", min_size=1, max_size=20))
def test_case_of_ascii_does_not_matter_to_the_hash(local_part: str) -> None:
    """And that of other letters does."""
    lowered = local_part.encode().lower().decode()
    mailboxes = [Mailbox(each, "example.org") for each in (local_part, lowered)]

    first, second = (request_uri(m, Variant.DIRECT).partition("?")[0] for m in mailboxes)
    assert first == second


def test_what_is_published_is_found() -> None:
    """With the trust of the provider; the local part is not in the detail."""
    fetcher = FakeFetcher({ADVANCED: b"octets"})

    assert Found(b"octets", Level.PROVIDER_TRUST, ADVANCED) == discover(fetcher)
    assert [f"{ADVANCED}?l=Joe.Doe"] == fetcher.asked
    assert ["example.org"] == fetcher.looked_up
    assert Source.WKD is WKD(fetcher).source


def test_the_direct_method_is_for_domains_without_the_sub_domain() -> None:
    """Then it is asked, for the sake of the same domain."""
    fetcher = FakeFetcher({DIRECT: b"octets"})

    assert Found(b"octets", Level.PROVIDER_TRUST, DIRECT) == discover(fetcher)
    assert [f"{ADVANCED}?l=Joe.Doe", f"{DIRECT}?l=Joe.Doe"] == fetcher.asked
    assert ["example.org"] * 2 == fetcher.looked_up


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Response(404, b"", ADVANCED), NotFound),
        (FetchFailed(Cause.STATUS), Unavailable),
        (FetchFailed(Cause.TLS), Unavailable),
        (FetchFailed(Cause.DNS), Unavailable),
        (FetchFailed(Cause.CONNECT), Unavailable),
        (FetchFailed(Cause.DEADLINE), Unavailable),
        (FetchFailed(Cause.REDIRECT), Unavailable),
        (FetchFailed(Cause.TOO_LARGE), Rejected),
        (FetchFailed(Cause.ENCODED), Rejected),
        (FetchRefused(Forbidden.ADDRESS), Rejected),
        (Response(200, b"", ADVANCED), Rejected),
    ],
)
def test_whatever_the_sub_domain_says_counts(
    answer: Response | FetchFailed | FetchRefused, expected: type[Result]
) -> None:
    """The direct method is not asked if the sub-domain exists (draft-koch §3.1)."""
    fetcher = FakeFetcher({ADVANCED: answer, DIRECT: b"other octets"})

    result = discover(fetcher)
    assert isinstance(result, expected)
    assert ADVANCED in result.detail
    assert "Joe" not in result.detail
    assert 1 == len(fetcher.asked)


def test_a_domain_without_any_host_has_no_directory() -> None:
    """So it is known to have no certificate there."""
    assert isinstance(discover(FakeFetcher()), NotFound)


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"", Policy()),
        (b"# none\n\n", Policy()),
        (
            b"mailbox-only\nDane-Only\n  auth-submit: \nprotocol-version: 5\n"
            b"submission-address: keys@example.org\nunknown: x\n",
            Policy(True, True, True, 5, "keys@example.org"),
        ),
        (b"mailbox-only\r\nprotocol-version:3\r\n", Policy(mailbox_only=True, protocol_version=3)),
        (b"protocol-version: 1\nprotocol-version: 2\n", Policy(protocol_version=1)),
        (b"protocol-version: " + b"9" * 900 + b"\nsubmission-address:\n", Policy()),
        (b"x" * 2000 + b"\nmailbox-only", Policy(mailbox_only=True)),
        (b"#mailbox-only\n\xff\xfe\x00dane-only\n", Policy()),
    ],
)
def test_policy_files_are_read(octets: bytes, expected: Policy) -> None:
    """Keywords in any case; what is unknown, too long or damaged does not count."""
    assert expected == read_policy(octets)


@given(st.binary(max_size=300))
def test_any_octets_are_a_policy_file(octets: bytes) -> None:
    """Reading raises nothing."""
    read_policy(octets)


def test_the_policy_file_is_where_the_directory_is() -> None:
    """Advanced, direct, or nowhere."""
    advanced = "https://openpgpkey.example.org/.well-known/openpgpkey/example.org/policy"
    direct = "https://example.org/.well-known/openpgpkey/policy"
    for url in (advanced, direct):
        fetcher = FakeFetcher({url: b"mailbox-only"})
        assert Policy(mailbox_only=True) == asyncio.run(WKD(fetcher).policy("example.org"))
    for fetcher in (FakeFetcher(), FakeFetcher({ADVANCED: b"octets"})):
        assert None is asyncio.run(WKD(fetcher).policy("example.org"))
