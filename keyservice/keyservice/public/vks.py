"""Verifying Keyserver interface, version 1, as keys.openpgp.org has it; no uploads.

Deviation: only primary keys are found. The ID of an encryption subkey stands on each message
to its owner; a server that turned it into a name would tell every relay who the mail is for.
"""

from urllib.parse import unquote

from litestar import Response, get
from litestar.params import FromPath

from keyservice.public.hkp import by_number
from keyservice.public.replies import FromStore, keys, mailbox_in
from keyservice.published import Published


@get("/vks/v1/by-email/{address:str}", sync_to_thread=True)
def by_email(published: FromStore, address: FromPath[str]) -> Response[bytes]:
    """Return the certificate of a mailbox: the one in use, else the latest revoked one."""
    return keys(published.by_mailbox(mailbox_in(unquote(address)))[:1])


@get("/vks/v1/by-fingerprint/{fingerprint:str}", sync_to_thread=True)
def by_fingerprint(published: FromStore, fingerprint: FromPath[str]) -> Response[bytes]:
    """Return a certificate by the fingerprint of its primary key."""
    return _one(published, fingerprint if len(fingerprint) > 16 else "")


@get("/vks/v1/by-keyid/{key_id:str}", sync_to_thread=True)
def by_key_id(published: FromStore, key_id: FromPath[str]) -> Response[bytes]:
    """Return a certificate by the ID of its primary key."""
    return _one(published, key_id if len(key_id) == 16 else "")


HANDLERS = (by_email, by_fingerprint, by_key_id)


def _one(published: Published, number: str) -> Response[bytes]:
    found = by_number(published, number)
    return keys((found,) if found else ())
