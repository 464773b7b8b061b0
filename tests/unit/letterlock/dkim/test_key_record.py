"""The record of a key: as printed, and as it may be found in the DNS."""

import base64
import re

import pytest

from letterlock.dkim.key_record import (
    NOT_PUBLISHED,
    OTHER_KEY,
    PUBLISHED,
    publication,
    record_text,
    zone_lines,
)
from letterlock.dkim.signer import KeyType, Signer
from letterlock.dns import DnsUnavailable

RSA = Signer.generate("rsa1", KeyType.RSA)
ED25519 = Signer.generate("ed1", KeyType.ED25519)
BOTH = pytest.mark.parametrize("signer", [RSA, ED25519], ids=["rsa", "ed25519"])


@BOTH
def test_strings_fit_the_dns(signer: Signer) -> None:
    """None is longer than 255 octets, and joined they are the record."""
    lines = zone_lines("example.org", signer)
    strings = re.findall('"(.*)"', lines)
    assert lines.startswith(f"{signer.selector}._domainkey.example.org. IN TXT (\n")
    assert max(map(len, strings)) <= 255
    assert record_text(signer) == "".join(strings)


def test_of_rfc_8463() -> None:
    """The key of RFC 8463 appendix A.2 has the record that stands there."""
    seed = base64.b64decode("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
    der = bytes.fromhex("302e020100300506032b657004220420") + seed
    pem = b"-----BEGIN PRIVATE KEY-----\n%b\n-----END PRIVATE KEY-----\n" % base64.b64encode(der)
    expected = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
    assert expected == record_text(Signer.from_pem("brisbane", pem))


@BOTH
def test_what_a_verifier_accepts_is_published(signer: Signer) -> None:
    """As printed, and as operators' panels rewrite it."""
    text = record_text(signer).encode()
    for found in (text, text.replace(b"; ", b";"), text + b";", b"v=DKIM1;s=email;" + text[9:]):
        assert PUBLISHED == publication("example.org", signer, lambda _name, f=found: (f,))


@BOTH
def test_what_a_verifier_refuses_is_not(signer: Signer) -> None:
    """Nor is anything that would make it doubt."""
    text = record_text(signer).encode()
    other = record_text(Signer.generate("x", signer.key_type)).encode()
    assert NOT_PUBLISHED == publication("example.org", signer, lambda _: ())
    assert OTHER_KEY == publication("example.org", signer, lambda _: (other,))
    wrong = {
        "revoked": (text.partition(b"p=")[0] + b"p=",),
        "several": (text, other),
        "syntax": (b"v=spf1 -all",),
        "testing": (text.replace(b" k=", b" t=y; k="),),
        "hash": (text.replace(b" k=", b" h=sha1; k="),),
        "not for mail": (text.replace(b" k=", b" s=tlsrpt; k="),),
        "algorithm": (text.replace(b"k=rsa", b"k=x").replace(b"k=ed25519", b"k=rsa"),),
    }
    for word, records in wrong.items():
        found = publication("example.org", signer, lambda _name, r=records: r)
        assert (False, True) == (found.is_right, word in found.text), found.text


def test_silence_is_no_answer() -> None:
    """Whoever asked must not conclude anything."""

    def silent(_name: str) -> tuple[bytes, ...]:
        raise DnsUnavailable("no answer in time")

    with pytest.raises(DnsUnavailable):
        publication("example.org", ED25519, silent)
