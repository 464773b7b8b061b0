"""The DNS record of a signing key (RFC 6376 §3.6.1): written, and compared with what is seen."""

import base64
from typing import NamedTuple

from letterlock.dkim.faults import Fault, Unacceptable
from letterlock.dkim.public_key import KeyRecord, KeyRecords
from letterlock.dkim.signer import Signer
from letterlock.dns import DnsUnavailable

_STRING_OCTETS_MAX = 255
"""RFC 1035 §3.3."""


class Publication(NamedTuple):
    """What the DNS says about a key."""

    is_right: bool
    text: str


PUBLISHED = Publication(True, "published")
NOT_PUBLISHED = Publication(False, "not published")
OTHER_KEY = Publication(False, "another key is published")


def record_name(domain: str, selector: str) -> str:
    """Return the owner name, without the final dot."""
    return f"{selector}._domainkey.{domain}"


def record_text(signer: Signer) -> str:
    """Return the record's content in one piece."""
    public = base64.b64encode(signer.public_octets).decode()
    return f"v=DKIM1; k={signer.key_type.value}; p={public}"


def zone_lines(domain: str, signer: Signer) -> str:
    """Return the record for a zone file, in strings of a length that the DNS can carry."""
    text = record_text(signer)
    starts = range(0, len(text), _STRING_OCTETS_MAX)
    strings = [f'    "{text[at : at + _STRING_OCTETS_MAX]}"' for at in starts]
    return "\n".join([f"{record_name(domain, signer.selector)}. IN TXT (", *strings, ")"])


def publication(domain: str, signer: Signer, records: KeyRecords) -> Publication:
    """Find out whether a verifier would accept what the key signs. Raises DnsUnavailable."""
    name = record_name(domain, signer.selector)
    try:
        record = KeyRecord.find(name, signer.algorithm, records)
    except Unacceptable as refusal:
        match refusal.fault:
            case Fault.KEY_UNAVAILABLE:
                raise DnsUnavailable(name) from None
            case Fault.NO_KEY:
                return NOT_PUBLISHED
            case fault:
                return Publication(False, fault.text)
    probe = name.encode()
    return PUBLISHED if record.verifies(signer.sign(probe), probe) else OTHER_KEY
