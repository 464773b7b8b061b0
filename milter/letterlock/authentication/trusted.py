"""What filters that ran before us on this host wrote into the message."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from keyservice.client import VerifiedSignature
from letterlock.authentication.forged import FIELD
from letterlock.authentication.results import ReadResult, read_field
from letterlock.dkim import verification
from letterlock.dkim.faults import Unacceptable
from letterlock.dkim.signature import Signature, tags_of
from letterlock.dkim.verification import Claims
from letterlock.message import HeaderSection

_SIGNATURES_MAX = 50
"""With more, nobody is vouched for."""

_WRITTEN_EARLIER = frozenset(
    b"received return-path dkim-signature from sender reply-to to cc bcc date message-id subject"
    b" in-reply-to references mime-version content-type content-transfer-encoding".split()
)
"""What no filter on this host puts on top. Postfix shows filters neither its own Received field
nor what earlier filters put above that; theirs come first, those of the peer follow."""


@dataclass(frozen=True, slots=True)
class Trusted:
    """What is believed."""

    indexes: frozenset[int] = frozenset()
    """Of the fields in the header section."""

    methods: frozenset[str] = frozenset()
    """Those that need no check of ours."""

    signatures: tuple[VerifiedSignature, ...] = ()


def read_trusted(section: HeaderSection, ids: Collection[str], now: float) -> Trusted:
    """Return what fields of the authserv-ids `ids` say. Raises nothing.

    Believed are only fields above everything that a peer's message begins with; and of what
    they say about a method, only what the topmost says. A filter adds on top: so where it wrote,
    what a stranger wrote in its name stands below. Where it did not, for it may have been
    skipped, nothing tells them apart: it must not be possible to skip it
    (`milter_default_action`).
    """
    if not ids:
        return Trusted()
    believed: dict[str, list[ReadResult]] = {}
    indexes = []
    known = {one.lower() for one in ids}
    for index in _topmost(section):
        field = read_field(section.fields[index]) if section.keys[index] == FIELD else None
        if field is None or field.authserv_id not in known:
            continue
        indexes.append(index)
        by_method: dict[str, list[ReadResult]] = {}
        for result in field.results:
            by_method.setdefault(result.method, []).append(result)
        believed = by_method | believed
    signatures = _signatures(section, believed.get("dkim", ()), now)
    return Trusted(frozenset(indexes), frozenset(believed), signatures)


def spam_verdict(section: HeaderSection, spam_field: str) -> bool | None:
    """Return what the filter that writes `spam_field` ("NAME: VALUE") said; None if nothing.

    Whoever says that it is spam is believed. That it is not, only what stands where
    `read_trusted` looks: a stranger would write that, too.
    """
    name, _, value = spam_field.partition(":")
    key, wanted = name.strip().lower().encode(), value.strip().lower().encode()
    if not key:
        return None
    if any(field.unfolded.lower().startswith(wanted) for field in section.named(key)):
        return True
    return False if any(section.keys[index] == key for index in _topmost(section)) else None


def _topmost(section: HeaderSection) -> Iterator[int]:
    for index, key in enumerate(section.keys):
        if key in _WRITTEN_EARLIER:
            return
        yield index


def _signatures(
    section: HeaderSection, results: Iterable[ReadResult], now: float
) -> tuple[VerifiedSignature, ...]:
    """Return the signatures that the results vouch for."""
    claims = _all_claims(section)
    found: dict[int, VerifiedSignature] = {}
    for result in results:
        if result.result != "pass":
            continue
        matching = [index for index, one in claims.items() if _is_about(result, one)]
        # With two, one may have been made to look like the other (RFC 6008 §1).
        if len(matching) == 1:
            try:
                stated = verification.stated(section, matching[0], now)
            except Unacceptable:
                continue
            found[matching[0]] = verified(stated)
    return tuple(found.values())[: verification.SIGNATURES_MAX]


def verified(signature: Signature) -> VerifiedSignature:
    """Return the record of a signature that passed."""
    return VerifiedSignature(
        domain=signature.domain,
        signed_fields=tuple(name.decode("ascii", "replace") for name in signature.names),
        has_body_length=signature.body.length is not None,
    )


def _all_claims(section: HeaderSection) -> dict[int, Claims]:
    """Return what each signature calls itself; nothing at all if one of them is not clear.

    That one may be the one that was vouched for, and another made to look like it.
    """
    indexes = [i for i, key in enumerate(section.keys) if key == verification.FIELD]
    found = {}
    for index in indexes[:_SIGNATURES_MAX]:
        try:
            found[index] = Claims.from_tags(tags_of(section.fields[index]))
        except Unacceptable:
            return {}
    is_clear = all(one.domain and one.selector and one.b for one in found.values())
    return found if is_clear and len(indexes) <= _SIGNATURES_MAX else {}


def _is_about(result: ReadResult, claims: Claims) -> bool:
    said = result.properties
    return (
        said.get("header.d", "").lower() == claims.domain
        and said.get("header.s", claims.selector).lower() == claims.selector
        and claims.b.startswith(said.get("header.b", ""))
    )
