"""What can be wrong with a signature, and which result of RFC 8601 §2.7.1 that makes.

What RFC 6376 §6.1 calls PERMFAIL is `fail` if the test itself failed, `neutral` if there is
nothing that could be tested (RFC 8601), and `permerror` otherwise.
"""

from enum import Enum


class Result(Enum):
    """RFC 8601 §2.7.1."""

    NONE = "none"
    PASS = "pass"  # noqa: S105 (a result)
    FAIL = "fail"
    POLICY = "policy"
    NEUTRAL = "neutral"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class Fault(Enum):
    """One of them. The text is for people, and has no character that would need quoting."""

    def __init__(self, result: Result, text: str) -> None:
        """`result` is what the signature is worth, `text` says why."""
        self.result = result
        self.text = text

    TOO_LONG = Result.NEUTRAL, "signature too long"
    SYNTAX = Result.NEUTRAL, "signature syntax error"
    # RFC 6376 §3.3, §3.4, §3.5 (q=): what a verifier does not know it ignores.
    UNKNOWN_ALGORITHM = Result.NEUTRAL, "unknown algorithm"
    UNKNOWN_CANONICALIZATION = Result.NEUTRAL, "unknown canonicalization"
    UNKNOWN_QUERY = Result.NEUTRAL, "unknown query method"
    # RFC 6376 §3.5 (t=): may be ignored, like a signature that is not there.
    FUTURE = Result.NEUTRAL, "signature from the future"

    VERSION = Result.PERMERROR, "incompatible version"
    MISSING_TAG = Result.PERMERROR, "signature missing required tag"
    DOMAIN_MISMATCH = Result.PERMERROR, "domain mismatch"
    FROM_NOT_SIGNED = Result.PERMERROR, "From field not signed"
    EXPIRED = Result.PERMERROR, "signature expired"
    # RFC 8301 §3.1: such signatures have permanently failed evaluation.
    HISTORIC_ALGORITHM = Result.PERMERROR, "rsa-sha1 is historic"

    KEY_UNAVAILABLE = Result.TEMPERROR, "key unavailable"
    NO_KEY = Result.PERMERROR, "no key for signature"
    SEVERAL_KEYS = Result.PERMERROR, "several keys for signature"
    KEY_SYNTAX = Result.PERMERROR, "key syntax error"
    KEY_REVOKED = Result.PERMERROR, "key revoked"
    WRONG_HASH = Result.PERMERROR, "inappropriate hash algorithm"
    WRONG_KEY = Result.PERMERROR, "inappropriate key algorithm"
    WRONG_SERVICE = Result.PERMERROR, "key is not for mail"
    # RFC 8301 §3.2 forbids to take it for valid, not to say that it would have verified.
    WEAK_KEY = Result.POLICY, "key shorter than 1024 bits"
    # RFC 6376 §3.6.1 (t=y): not to be treated differently from unsigned mail, pass or fail; RFC
    # 8601 §2.7.1 says `neutral` for that.
    TESTING = Result.NEUTRAL, "key in testing mode"

    SIGNATURE = Result.FAIL, "signature did not verify"
    BODY = Result.FAIL, "body hash did not verify"
    SEAL = Result.FAIL, "seal did not verify"
    CHAIN_STRUCTURE = Result.FAIL, "chain incomplete or malformed"
    CHAIN_FAILED = Result.FAIL, "chain failed earlier"
    BODY_SHORTER = Result.FAIL, "body shorter than l="


class Unacceptable(Exception):
    """A signature, or its key, is of no use."""

    def __init__(self, fault: Fault) -> None:
        """`fault` says why."""
        super().__init__(fault.text)
        self.fault = fault
