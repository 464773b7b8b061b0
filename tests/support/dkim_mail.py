"""Messages signed by us, and the records by which others verify them."""

import time
from collections.abc import Sequence

from letterlock.dkim.body_hash import BodyHasher
from letterlock.dkim.key_record import record_name, record_text
from letterlock.dkim.signer import KeyType, Signer
from letterlock.dkim.signing import BODY_HASH, sign
from letterlock.message import split

DOMAIN = "example.org"


def new_signers(suffix: str = "1") -> tuple[Signer, Signer]:
    """Return a key of each type; selectors `rsa1` and `ed1`."""
    rsa = Signer.generate(f"rsa{suffix}", KeyType.RSA)
    return rsa, Signer.generate(f"ed{suffix}", KeyType.ED25519)


def records_of(signers: Sequence[Signer], *domains: str) -> dict[str, str]:
    """Return their TXT records by name."""
    return {record_name(d, s.selector): record_text(s) for d in domains for s in signers}


def signed(
    message: bytes,
    signers: Sequence[Signer],
    domain: str = DOMAIN,
    now: int | None = None,
    days: int = 0,
) -> bytes:
    """Return `message` with the fields on top."""
    section, body = split(message)
    hasher = BodyHasher([BODY_HASH])
    hasher.write(body)
    hasher.close()
    moment = int(time.time()) if now is None else now
    fields = sign(section.fields, hasher, domain, signers, moment, days)
    return b"".join(field.octets for field in fields) + message
