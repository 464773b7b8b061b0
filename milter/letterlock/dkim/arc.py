"""The Authenticated Received Chain of a message (RFC 8617 §5.2).

Not dkimpy's own: that wants the body in memory, finds signature fields by how they are spaced,
and dies of those that are spaced otherwise.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple

from letterlock.dkim.body_hash import BodyHash, BodyHasher
from letterlock.dkim.faults import Fault, Unacceptable
from letterlock.dkim.public_key import KeyRecords
from letterlock.dkim.seal import Seal
from letterlock.dkim.signature import Signature, tags_of
from letterlock.dkim.signed_header import SignedHeader
from letterlock.dkim.tags import number
from letterlock.message import HeaderSection

INSTANCES_MAX = 50
"""RFC 8617 §4.2.1."""

_RESULTS = b"arc-authentication-results"
_MESSAGE_SIGNATURE = b"arc-message-signature"
_SEAL = b"arc-seal"
_KEYS = (_RESULTS, _MESSAGE_SIGNATURE, _SEAL)

_RESULTS_INSTANCE = re.compile(rb"\s*+i\s*+=\s*+([0-9]{1,2})\s*+;")


class ChainResult(Enum):
    """RFC 8617 §4.4, RFC 8601 §2.7. There is no temporary one."""

    NONE = "none"
    PASS = "pass"  # noqa: S105 (a result)
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Chain:
    """What is known about it. Final after `after_body`."""

    result: ChainResult
    fault: Fault | None = None
    """Why it fails."""

    sealer: str = ""
    """d= of the newest seal; only if the seals verify."""

    instances: int = 0
    signatures: tuple[Signature, ...] = ()
    """The message signatures that verify, newest first, up to the first that does not."""

    @property
    def oldest_pass(self) -> int:
        """Since which instance the message is unchanged; 0: since the first (§5.2)."""
        changed = self.instances - len(self.signatures)
        return changed + 1 if changed else 0

    @property
    def wants(self) -> Collection[BodyHash]:
        """The body hashes that decide."""
        return {signature.body for signature in self.signatures}

    def after_body(self, hasher: BodyHasher) -> "Chain":
        """Return what is known in the end; `hasher` is closed and knows what was wanted."""
        intact: list[Signature] = []
        for signature in self.signatures:
            try:
                signature.require_body(hasher)
            except Unacceptable as refusal:
                if not intact:
                    return Chain(ChainResult.FAIL, refusal.fault)
                break
            intact.append(signature)
        return replace(self, signatures=tuple(intact))


class _Set(NamedTuple):
    """One ARC Set: an index into the header section, and tags where there are any."""

    results: int
    message_signature: int
    message_tags: Mapping[bytes, bytes]
    seal: Seal

    @property
    def indexes(self) -> tuple[int, int, int]:
        """In the order in which seals cover them (§5.1.1)."""
        return self.results, self.message_signature, self.seal.index


def check_chain(
    section: HeaderSection, header: SignedHeader, records: KeyRecords, now: float
) -> Chain:
    """Return what the header section alone says about the chain. Raises nothing."""
    if not any(key in _KEYS for key in section.keys):
        return Chain(ChainResult.NONE)
    try:
        sets = _sets(section)
        _require_states([one.seal.state for one in sets])
        newest = _message_signature(sets[-1], header, records, now)
        for number_of, one in enumerate(sets):
            earlier = [index for before in sets[:number_of] for index in before.indexes]
            covered = [*earlier, one.results, one.message_signature]
            one.seal.require(header, covered, records)
    except Unacceptable as refusal:
        return Chain(ChainResult.FAIL, refusal.fault)
    signatures = [newest]
    for one in reversed(sets[:-1]):
        try:
            signatures.append(_message_signature(one, header, records, now))
        except Unacceptable:
            break
    return Chain(ChainResult.PASS, None, sets[-1].seal.domain, len(sets), tuple(signatures))


def _message_signature(
    one: _Set, header: SignedHeader, records: KeyRecords, now: float
) -> Signature:
    signature = Signature.from_tags(one.message_signature, one.message_tags, now)
    # §4.1.2: seals are added after it, so it may not cover any.
    if _SEAL in signature.names:
        raise Unacceptable(Fault.SYNTAX)
    signature.require_header(header, records)
    return signature


def _require_states(states: list[bytes]) -> None:
    if states[-1] == b"fail":
        raise Unacceptable(Fault.CHAIN_FAILED)
    if states[0] != b"none" or any(state != b"pass" for state in states[1:]):
        raise Unacceptable(Fault.CHAIN_STRUCTURE)


def _sets(section: HeaderSection) -> list[_Set]:
    """Return the sets from the oldest on; raises Unacceptable unless all of them are whole."""
    found: dict[tuple[int, bytes], int] = {}
    tags_at: dict[int, dict[bytes, bytes]] = {}
    for index, key in enumerate(section.keys):
        if key not in _KEYS:
            continue
        instance = _instance(section, index, tags_at)
        if not 1 <= instance <= INSTANCES_MAX or (instance, key) in found:
            raise Unacceptable(Fault.CHAIN_STRUCTURE)
        found[instance, key] = index
    count, rest = divmod(len(found), len(_KEYS))
    if rest or any(instance > count for instance, _ in found):
        raise Unacceptable(Fault.CHAIN_STRUCTURE)
    return [_set([found[instance, key] for key in _KEYS], tags_at) for instance in _upto(count)]


def _upto(count: int) -> range:
    return range(1, count + 1)


def _set(indexes: list[int], tags_at: Mapping[int, Mapping[bytes, bytes]]) -> _Set:
    results, message_signature, seal = indexes
    return _Set(
        results,
        message_signature,
        tags_at[message_signature],
        Seal.from_tags(seal, tags_at[seal]),
    )


def _instance(section: HeaderSection, index: int, tags_at: dict[int, dict[bytes, bytes]]) -> int:
    """Return i= of the field at `index`, and leave its tags in `tags_at` if it has some."""
    field = section.fields[index]
    if section.keys[index] == _RESULTS:
        match = _RESULTS_INSTANCE.match(field.value)
        if match is None:
            raise Unacceptable(Fault.CHAIN_STRUCTURE)
        return int(match[1])
    tags_at[index] = tags = tags_of(field)
    if b"i" not in tags:
        raise Unacceptable(Fault.CHAIN_STRUCTURE)
    return number(tags[b"i"])
