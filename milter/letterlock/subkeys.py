"""From an answer of the key service to what PKESKs are made with."""

from collections.abc import Iterable
from functools import lru_cache

from keyservice.client import Answer, EncryptionSubkey, Outcome
from letterlock.openpgp import RecipientSubkey, UnusableSubkey


def usable_subkeys(answer: Answer, at: float) -> tuple[RecipientSubkey, ...]:
    """Return the subkeys that may be used at `at` (seconds since 1970) and that we can use."""
    return alive(answer.subkeys, at) if answer.outcome is Outcome.FOUND else ()


def alive(subkeys: Iterable[EncryptionSubkey], at: float) -> tuple[RecipientSubkey, ...]:
    """Return those of `subkeys` that may be used at `at` and that we can use."""
    # What the key service said may have been true some minutes ago only.
    living = (s for s in subkeys if s.not_after is None or at < s.not_after)
    return tuple(parsed for s in living if (parsed := _parsed(s)) is not None)


@lru_cache(maxsize=4096)
def _parsed(subkey: EncryptionSubkey) -> RecipientSubkey | None:
    """Return None where the algorithm is not one of ours: vetting may know more."""
    try:
        return RecipientSubkey.from_packet(subkey.packet)
    except UnusableSubkey:
        return None
