"""From an answer of the key service to what PKESKs are made with."""

from functools import lru_cache

from keyservice.client import Answer, EncryptionSubkey, Outcome
from letterlock.openpgp import RecipientSubkey, UnusableSubkey


def usable_subkeys(answer: Answer, at: float) -> tuple[RecipientSubkey, ...]:
    """Return the subkeys that may be used at `at` (seconds since 1970) and that we can use."""
    if answer.outcome is not Outcome.FOUND:
        return ()
    # The answer may have been true some minutes ago only.
    alive = (s for s in answer.subkeys if s.not_after is None or at < s.not_after)
    return tuple(parsed for s in alive if (parsed := _parsed(s)) is not None)


@lru_cache(maxsize=4096)
def _parsed(subkey: EncryptionSubkey) -> RecipientSubkey | None:
    """Return None where the algorithm is not one of ours: vetting may know more."""
    try:
        return RecipientSubkey.from_packet(subkey.packet)
    except UnusableSubkey:
        return None
