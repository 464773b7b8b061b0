"""What each discovery method takes, with a real server on loopback.

A connection of its own each time, as every lookup of another domain has; TLS with a new
session, Unbound with the record in its cache.
"""

import asyncio
import base64
import time
from pathlib import Path

from certificates import sequoia
from fake_net import FakeResolver, LoopbackNetwork
from https_peer import Authority, HTTPSPeer
from keyserver_peer import Keyserver, served
from keyservice.client import Mailbox
from keyservice.dns import Proof, ValidatingResolver
from keyservice.https_fetcher import HTTPSFetcher
from keyservice.methods import DiscoveryMethod, Found
from keyservice.methods.hkp import HKP
from keyservice.methods.nicknym import Nicknym
from keyservice.methods.openpgpkey import OpenPGPKey, owner_name
from keyservice.methods.vks import VKS
from keyservice.methods.wkd import WKD
from keyservice.wkd_name import hashed_local_part
from unbound import Signing, Unbound

_ALICE = Mailbox.parse("alice@example.org")
_KEYS, _NICKNYM, _WKD = "keys.example.net", "nicknym.example.org", "openpgpkey.example.org"
_ADDRESS = "93.184.215.14"
_TIMES = 30


def by_method(directory: Path) -> dict[str, list[float]]:
    """Return the milliseconds of each lookup, by the name of the method."""
    certificate = sequoia(_ALICE.key).certificate
    return _keyservers(certificate) | _directory(certificate) | _dns(certificate, directory)


def _keyservers(certificate: bytes) -> dict[str, list[float]]:
    authority = Authority()
    with served(Keyserver(certificate), authority.server((_KEYS, _NICKNYM))) as port:
        fetcher = _fetcher(authority, port)
        methods = (VKS(fetcher, _KEYS), HKP(fetcher, _KEYS), Nicknym(fetcher))
        return {method.source.value: asyncio.run(_times(method)) for method in methods}


def _directory(certificate: bytes) -> dict[str, list[float]]:
    authority = Authority()
    path = f"/.well-known/openpgpkey/example.org/hu/{hashed_local_part('alice')}"
    with HTTPSPeer(authority.server((_WKD,)), {path: certificate}) as peer:
        method = WKD(_fetcher(authority, peer.port))
        return {method.source.value: asyncio.run(_times(method))}


def _dns(certificate: bytes, directory: Path) -> dict[str, list[float]]:
    octets = base64.b64encode(certificate).decode()
    zones = {
        "example.org": (Signing.RIGHT, f"{owner_name(_ALICE)}. OPENPGPKEY {octets}\n"),
        "bogus.org": (Signing.WRONG, "@ A 9.9.9.9\n"),
    }

    async def proved(port: int) -> list[float]:
        resolver = ValidatingResolver(
            "127.0.0.1", port, signed_name="example.org.", bogus_name="bogus.org."
        )
        if await resolver.prove() is not Proof.PROVED:
            raise LookupError("Unbound does not validate")
        return await _times(OpenPGPKey(resolver))

    with Unbound(directory, zones) as unbound:
        return {OpenPGPKey.source.value: asyncio.run(proved(unbound.port))}


def _fetcher(authority: Authority, port: int) -> HTTPSFetcher:
    return HTTPSFetcher(
        FakeResolver({name: [_ADDRESS] for name in (_KEYS, _NICKNYM, _WKD)}),
        deadline=10,
        trust=authority.trust(),
        network=LoopbackNetwork({_ADDRESS: port}),
    )


async def _times(method: DiscoveryMethod) -> list[float]:
    times = []
    for _ in range(_TIMES + 1):
        began = time.perf_counter()
        result = await method.discover(_ALICE)
        times.append((time.perf_counter() - began) * 1000)
        match result:
            case Found():
                continue
            case _:
                raise LookupError(f"{method.source.value}: {result}")
    return times[1:]  # the first loads what the first lookup needs
