"""At which names OPENPGPKEY records are looked for, and which are used."""

import asyncio
from collections.abc import Mapping

import pytest

from fake_net import FakeResolver
from keyservice.dns import DnsAnswer, DnsCause
from keyservice.levels import Level, Source
from keyservice.mailbox import Mailbox
from keyservice.methods import Found, NotFound, Rejected, Result, Unavailable
from keyservice.methods.openpgpkey import OpenPGPKey, owner_name

HUGH = Mailbox.parse("hugh@example.com")
NAME = "c93f1e400f26708f98cb19d936620da35eec8f72e57f9eec01c1afd6._openpgpkey.example.com"


def discover(
    records: Mapping[str, DnsAnswer], mailbox: Mailbox = HUGH, asked: list[str] | None = None
) -> Result:
    """Return what the DNS says of `mailbox`; the names asked for are added to `asked`."""
    resolver = FakeResolver(records=records)
    result = asyncio.run(OpenPGPKey(resolver).discover(mailbox))
    if asked is not None:
        asked += resolver.asked
    return result


def test_the_owner_name_of_the_rfc() -> None:
    """The example of RFC 7929 §3."""
    assert NAME == owner_name(HUGH)


def test_composed_and_decomposed_letters_are_the_same_name() -> None:
    """Normalisation form C (RFC 7929 §3)."""
    composed, decomposed = Mailbox("k\u00e4the", "a.org"), Mailbox("ka\u0308the", "a.org")

    assert owner_name(composed) == owner_name(decomposed)


def test_secure_records_are_found() -> None:
    """All of them, with the trust of the provider."""
    answer = DnsAnswer([b"one", b"two"], authentic=True)

    assert Found(b"onetwo", Level.PROVIDER_TRUST, NAME) == discover({NAME: answer})
    assert Source.OPENPGPKEY is OpenPGPKey.source


def test_insecure_records_are_rejected() -> None:
    """Anybody on the way may have written them; the reason is told."""
    result = discover({NAME: DnsAnswer([b"one"], authentic=False)})

    assert isinstance(result, Rejected)
    assert "DNSSEC" in result.detail


@pytest.mark.parametrize("authentic", [True, False])
def test_no_records_is_not_found(authentic: bool) -> None:
    """A zone that is signed cannot be denied by others; one that is not has none to be used."""
    assert isinstance(discover({NAME: DnsAnswer([], authentic)}), NotFound)


@pytest.mark.parametrize("cause", DnsCause)
def test_whatever_keeps_the_resolver_from_answering_is_temporary(cause: DnsCause) -> None:
    """Wrong signatures too: they may be an attack, so they deny nothing."""
    resolver = FakeResolver(failing={NAME: cause})

    result = asyncio.run(OpenPGPKey(resolver).discover(HUGH))
    assert isinstance(result, Unavailable)
    assert cause.value in result.detail


def test_a_local_part_in_capitals_is_also_asked_for_in_lower_case() -> None:
    """As written first, for that is what the RFC hashes."""
    as_written, asked = Mailbox.parse("Hugh@example.com"), list[str]()

    result = discover({NAME: DnsAnswer([b"one"], True)}, as_written, asked)
    assert Found(b"one", Level.PROVIDER_TRUST, NAME) == result
    assert [owner_name(as_written), NAME] == asked


def test_one_name_is_asked_if_that_has_an_answer() -> None:
    """Also if the answer cannot be used."""
    as_written, asked = Mailbox.parse("Hugh@example.com"), list[str]()

    insecure = {owner_name(as_written): DnsAnswer([b"one"], False)}
    assert isinstance(discover(insecure, as_written, asked), Rejected)
    assert 1 == len(asked)
