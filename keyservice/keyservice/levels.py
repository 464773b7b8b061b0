"""How much a sighting of a certificate is worth: LEAP's eight validation levels, and who saw it.

Levels and their order: LEAP, transitional key validation, "Validation levels".
"""

from enum import Enum, IntEnum


class Level(IntEnum):
    """What stands behind the binding of a certificate to a mailbox; higher is stronger."""

    WEAK_CHAIN = 1
    """Some hop was not authenticated."""

    PROVIDER_TRUST = 2
    """Every hop from the mailbox's provider was, and nobody can audit it."""

    PROVIDER_ENDORSEMENT = 3
    THIRD_PARTY_ENDORSEMENT = 4
    THIRD_PARTY_CONSENSUS = 5
    HISTORICAL_AUDITING = 6
    KNOWN_KEY = 7
    """Pinned by the operator."""

    FINGERPRINT = 8
    """Its owner, or somebody who checked with him, confirmed the fingerprint."""


class Source(Enum):
    """Who showed a certificate. Also the metric label."""

    OPERATOR = "operator"
    OWNER = "owner"
    WKD = "wkd"
    OPENPGPKEY = "openpgpkey"
    NICKNYM = "nicknym"
    VKS = "vks"
    HKP = "hkp"
    AUTOCRYPT = "autocrypt"
    ATTACHED = "attached"
    SUBMISSION = "submission"
    """The mail program of the owner, authenticated; he himself need not know."""

    @property
    def rank(self) -> int:
        """Which of two sightings of the same level is preferred: the higher one."""
        return _RANKS[self]


METHODS = (Source.WKD, Source.OPENPGPKEY, Source.NICKNYM, Source.VKS, Source.HKP)
"""Those that can be asked."""

_RANKS = {
    Source.OWNER: 9,
    Source.OPERATOR: 9,
    Source.SUBMISSION: 9,
    Source.WKD: 8,
    Source.OPENPGPKEY: 7,
    Source.NICKNYM: 6,
    Source.AUTOCRYPT: 4,
    Source.VKS: 3,
    Source.HKP: 2,
    Source.ATTACHED: 1,
}
