"""Web Key Directory, advanced and direct method (draft-koch-openpgp-webkey-service §3.1, §4.5).

Whether a mailbox has a certificate is all that can be asked, and only with a guess of its
local part at hand: the hash cannot be turned round, but guesses can be hashed. `l=`, the local
part in the clear, is neither needed nor read.
"""

import re
from typing import Annotated
from urllib.parse import unquote

from litestar import Response, get
from litestar.params import FromPath, HeaderParameter

from keyservice.public.replies import FromStore, domain_in, no_certificate
from keyservice.published import Published

_ROOT = "/.well-known/openpgpkey"
_HASHED = re.compile(r"[ybndrfg8ejkmcpqxot1uwisza345h769]{32}")
_Host = Annotated[str, HeaderParameter(name="host")]


@get(f"{_ROOT}/{{domain:str}}/hu/{{hashed:str}}", sync_to_thread=True)
def advanced(published: FromStore, domain: FromPath[str], hashed: FromPath[str]) -> Response[bytes]:
    """Return the certificates of a mailbox, binary, the one in use first."""
    return _certificates(published, unquote(domain), hashed)


@get(f"{_ROOT}/hu/{{hashed:str}}", sync_to_thread=True)
def direct(published: FromStore, hashed: FromPath[str], host: _Host = "") -> Response[bytes]:
    """Return the same; the domain is the host that was asked."""
    return _certificates(published, _without_port(host), hashed)


@get(f"{_ROOT}/{{domain:str}}/policy", sync_to_thread=False)
def advanced_policy(published: FromStore, domain: FromPath[str]) -> Response[bytes]:
    """Return the policy file: it must exist, and may be empty (§4.5)."""
    return _policy(published, unquote(domain))


@get(f"{_ROOT}/policy", sync_to_thread=False)
def direct_policy(published: FromStore, host: _Host = "") -> Response[bytes]:
    """Return the same."""
    return _policy(published, _without_port(host))


HANDLERS = (advanced, direct, advanced_policy, direct_policy)


def _certificates(published: Published, domain: str, hashed: str) -> Response[bytes]:
    if not _HASHED.fullmatch(hashed):
        raise no_certificate()
    found = published.by_wkd_name(f"{hashed}@{domain_in(domain)}")
    if not found:
        raise no_certificate()
    octets = b"".join(certificate.octets for certificate in found)
    return Response(octets, media_type="application/octet-stream")


def _policy(published: Published, domain: str) -> Response[bytes]:
    if not published.serves(domain_in(domain)):
        raise no_certificate()
    return Response(b"", media_type="text/plain")


def _without_port(host: str) -> str:
    return re.sub(r":[0-9]*$", "", host)
