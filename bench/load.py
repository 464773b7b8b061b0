"""The load: one realistic message, sent many times by Postfix's own smtp-source(1)."""

import base64
import random
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

_SIGNATURE = """\
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=shop.example; s=s2026;
\tt=1795161601; h=from:to:subject:date:message-id:mime-version:content-type;
\tbh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=;
\tb=dGhpcyBpcyBub3QgYSBzaWduYXR1cmUgYnV0IGl0IGlzIGFzIGxvbmcgYXMgb25lIHdpdGggYW4g
\tUlNBIGtleSBvZiAyMDQ4IGJpdHMgd291bGQgYmU7IG5vYm9keSB2ZXJpZmllcyBpdCBoZXJlLCBz
\tbyBhbnkgb2N0ZXRzIHdpbGwgZG8gYXMgd2VsbA==
"""

_HEADER = """\
Return-Path: <bounces+4711-a1b2=mailbox=example.test@mta.shop.example>
Received: from mta7.shop.example (mta7.shop.example [198.51.100.7])
\tby relay.outside.example (Postfix) with ESMTPS id 4X7abc1Qz9z2xY
\tfor <mailbox@example.test>; Fri, 20 Nov 2026 08:00:03 +0000 (UTC)
Received: from app3.internal.shop.example (app3.internal.shop.example [10.20.30.40])
\tby mta7.shop.example (Postfix) with ESMTP id 4X7abb6Rz1z9yQ
\tfor <mailbox@example.test>; Fri, 20 Nov 2026 08:00:02 +0000 (UTC)
Received: by app3.internal.shop.example (Postfix, from userid 33)
\tid 3F2A11C0D7; Fri, 20 Nov 2026 08:00:01 +0000 (UTC)
Authentication-Results: relay.outside.example;
\tdkim=pass header.d=shop.example header.s=s2026 header.b=Zm9vYmFy;
\tspf=pass smtp.mailfrom=mta.shop.example; dmarc=pass header.from=shop.example
{signature}Date: Fri, 20 Nov 2026 09:00:01 +0100
From: =?UTF-8?Q?Caf=C3=A9_=26_Shop?= <orders@shop.example>
Reply-To: "Customer Care" <care@shop.example>
To: "A. Mailbox Owner" <mailbox@example.test>
Cc: archive@shop.example
Subject: =?UTF-8?Q?Your_order_4711_has_been_sent_=E2=80=93_what_happens_next?=
Message-ID: <4711.1795161601.a1b2c3d4@app3.internal.shop.example>
In-Reply-To: <order-4711@shop.example>
References: <order-4711@shop.example> <order-4711-confirmed@shop.example>
\t<order-4711-paid@shop.example>
MIME-Version: 1.0
Content-Type: text/plain; charset="UTF-8"; format=flowed
Content-Transfer-Encoding: quoted-printable
Content-Language: en
List-Id: Order notices <orders.shop.example>
List-Unsubscribe: <https://shop.example/u/4711>, <mailto:leave@shop.example>
List-Unsubscribe-Post: List-Unsubscribe=One-Click
Precedence: bulk
X-Mailer: ShopMail 7.4
Feedback-ID: 4711:orders:shop
"""
"""25 fields, as a message that passed two hosts has them."""

_LINE_COLUMNS = 76
_LINE_WORDS = 16
_WORDS = 1000
_LETTERS = b"abcdefghijklmnopqrstuvwxyz"
_TIMEOUT_SECONDS = 300
SENDER = "sender@outside.test"


class LoadFailed(RuntimeError):
    """A message was refused, or a sender did not come to its end."""


def message(body_octets: int) -> bytes:
    """Return a message with LF line ends whose body has about `body_octets`.

    It has a signature that nobody is to verify.
    """
    return header(_SIGNATURE) + body(body_octets)


def header(signature: str = "") -> bytes:
    """Return the header section with LF line ends, and the blank line after it."""
    return _HEADER.format(signature=signature).encode() + b"\n"


def body(octets: int) -> bytes:
    """Return a text with LF line ends: words, and lines as people and programs break them."""
    chance = random.Random(octets)
    words = [bytes(chance.choices(_LETTERS, k=chance.randint(1, 9))) for _ in range(_WORDS)]
    count = octets // (_LINE_COLUMNS + 2)
    lines = (b" ".join(chance.choices(words, k=_LINE_WORDS)) for _ in range(count))
    return b"".join(line[:_LINE_COLUMNS].ljust(_LINE_COLUMNS, b".") + b"\n" for line in lines)


def attachment(octets: int) -> bytes:
    """Return a body with LF line ends as attachments are: base64."""
    # A line of 76 columns, and CR LF on its way, for 57 octets.
    return base64.encodebytes(random.Random(octets).randbytes(octets * 57 // 78))


def send(
    port: int,
    file: Path,
    recipients: Sequence[str],
    messages: int,
    sessions: int,
    *,
    numbered: bool = False,
) -> float:
    """Send `messages` in all, spread over `recipients`; return the seconds it took.

    Each message is a session of its own, `sessions` of them at a time. `numbered`: each
    goes to a mailbox of its own, 1recipient, 2recipient and so on. Raises LoadFailed at the
    first reply that is not the expected one.
    """
    each = len(recipients)
    command = ["smtp-source", *["-N"][: int(numbered)], "-f", SENDER, "-F", str(file)]
    command += ["-s", str(max(1, sessions // each)), "-m", str(messages // each)]
    began = time.perf_counter()
    senders = [
        subprocess.Popen([*command, "-t", recipient, f"127.0.0.1:{port}"], stderr=subprocess.PIPE)
        for recipient in recipients
    ]
    said = [sender.communicate(timeout=_TIMEOUT_SECONDS)[1] for sender in senders]
    seconds = time.perf_counter() - began
    if any(sender.returncode for sender in senders):
        raise LoadFailed(b"".join(said).decode(errors="replace"))
    return seconds
