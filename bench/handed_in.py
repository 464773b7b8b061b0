"""Mail that a user hands in, and the keys that it is signed with."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import load

from letterlock.dkim import key_files
from letterlock.dkim.key_files import Key, State
from letterlock.dkim.signer import Signer

_BODY = load.body(10_240).replace(b"\n", b"\r\n")

_HEADER = """\
Message-ID: <3f1c0a77-7a4c-4a2b-9c58-{number:012}@{domain}>
Date: Fri, 20 Nov 2026 09:00:01 +0100
MIME-Version: 1.0
User-Agent: Mozilla Thunderbird
Subject: =?UTF-8?Q?Re=3A_Caf=C3=A9_tomorrow?=
Content-Language: en-US
To: {recipients}
References: <a1b2c3d4-0001@outside.test> <a1b2c3d4-0002@{domain}>
From: Alice Example <alice@{domain}>
Organization: Example
In-Reply-To: <a1b2c3d4-0002@{domain}>
Content-Type: text/plain; charset=UTF-8; format=flowed
Content-Transfer-Encoding: 7bit

"""
"""As a common mail program writes it."""


def message(domain: str, recipients: Sequence[str], number: int) -> bytes:
    """Return a mail by Alice with CRLF line ends."""
    listed = ",\n ".join(recipients)
    header = _HEADER.format(domain=domain, recipients=listed, number=number)
    return header.replace("\n", "\r\n").encode() + _BODY


def leaves(signatures: int, *, encrypts: bool) -> Callable[[bytes], bool]:
    """Return whether a message has left as it should."""

    def is_right(octets: bytes) -> bool:
        header, _, _ = octets.partition(b"\r\n\r\n")
        is_encrypted = b"multipart/encrypted" in header
        return header.count(b"DKIM-Signature:") == signatures and is_encrypted == encrypts

    return is_right


def store(folder: Path, signers: Sequence[Signer]) -> None:
    """Have the keys of a domain be in `folder`, and used."""
    key_files.make_folder(folder)
    for signer in signers:
        key_files.write_signer(folder, signer)
    now = int(time.time())
    keys = tuple(Key(s.selector, s.key_type, State.ACTIVE, now) for s in signers)
    key_files.write_keys(folder, keys)
