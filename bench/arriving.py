"""Mail from outside that is signed, and the DNS and the mailbox that it needs."""

import copy
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import load
from clients import Envelope

from dkim_mail import signed
from letterlock.dkim.key_record import zone_lines
from letterlock.dkim.signer import Signer
from stack import Owner
from unbound import Signing, Unbound

MAILBOX, SEEN = "mailbox@example.test", "seen@example.test"
"""Both of ours, with the same certificate. Mail for the second is looked at."""

_DOMAIN = "shop.example"
_HOST = "mta7.shop.example"
_ADDRESS = "198.51.100.7"

FROM_HERE = Envelope("bounces@shop.example", (MAILBOX,))
"""From loopback, for which there is no SPF."""

FROM_THERE = Envelope("bounces@shop.example", (MAILBOX,), client=(_HOST, _ADDRESS))

_SPF = f'@ TXT "v=spf1 ip4:{_ADDRESS} -all"\nmta7 TXT "v=spf1 a -all"\nmta7 A {_ADDRESS}\n'


def resolver(directory: Path, signer: Signer) -> Unbound:
    """Return a resolver that finds the sender's key under every selector."""
    directory.mkdir()
    record = zone_lines(_DOMAIN, signer).replace(signer.selector, "*", 1)
    return Unbound(directory, {_DOMAIN: (Signing.NOT, f"{_SPF}{record}\n")}, validating=False)


def unsigned(body: bytes) -> bytes:
    """Return a message with CRLF line ends."""
    return (load.header() + body).replace(b"\n", b"\r\n")


def signed_once(signer: Signer, message: bytes) -> bytes:
    """Return `message` with a signature."""
    return signed(message, [signer], _DOMAIN, int(time.time()))


def signed_anew(signer: Signer, message: bytes, selectors: Iterable[str]) -> list[bytes]:
    """Return it with a signature under each of `selectors`, whose record nobody remembers."""
    return [signed_once(_under(signer, selector), message) for selector in selectors]


def has_verdict(*verdicts: bytes) -> Callable[[bytes], bool]:
    """Return whether this host has written just these into a message."""

    def is_right(octets: bytes) -> bool:
        octets = octets.replace(b"\r\n", b"\n")
        fields = octets.replace(b"\n\t", b" ").replace(b"\n ", b" ").splitlines()
        ours = [f for f in fields if f.startswith(b"Authentication-Results: mx.example.test;")]
        found = {v for v in (b"dkim=pass", b"spf=pass") if any(v in field for field in ours)}
        return found == set(verdicts)

    return is_right


def has_verdict_inside(owner: Owner, *verdicts: bytes) -> Callable[[bytes], bool]:
    """Return the same for what is encrypted."""
    is_right = has_verdict(*verdicts)
    return lambda octets: is_right(owner.decrypt(octets))


def _under(signer: Signer, selector: str) -> Signer:
    # Reading the key again would take longer than all the rest.
    other = copy.copy(signer)
    other.selector = selector
    return other
