"""Mail from outside that is signed, and the DNS and the mailbox that it needs."""

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


def unsigned(octets: int) -> bytes:
    """Return a message with CRLF line ends and a body of about `octets`."""
    return load.message(octets, signature="").replace(b"\n", b"\r\n")
