"""The name of a mailbox in a Web Key Directory (draft-koch-openpgp-webkey-service §3.1). Pure."""

import hashlib

from keyservice.zbase32 import encode


def hashed_local_part(local_part: str) -> str:
    """Return the 32 characters that stand for `local_part` in a request URI.

    Upper-case ASCII letters are mapped to lower case first; other characters are left
    alone, so `str.lower` would be wrong here.
    """
    lowered = local_part.encode().lower()
    return encode(hashlib.sha1(lowered, usedforsecurity=False).digest())


def wkd_name(address: str) -> str:
    """Return what `Mailbox.key` is found by when only the hash is known: HASH@DOMAIN."""
    local_part, _, domain = address.rpartition("@")
    return f"{hashed_local_part(local_part)}@{domain}"
