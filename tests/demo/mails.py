"""The six mails from outside, and the words in them that only their owners may ever find."""

import base64
import textwrap
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime

from stack import Owner

HOME = "example.test"
ALICE, BOB, ZOE = f"alice@{HOME}", f"bob@{HOME}", f"zoe@{HOME}"
CLARA = "clara@outside.test"


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail with its envelope, and what is to become of it."""

    title: str
    about: str
    """For the reader of the demo: one or two sentences."""

    octets: bytes
    """With CRLF line ends, exactly as it is sent."""

    to: tuple[str, ...]
    secrets: tuple[str, ...]
    """Words that stand in it and nowhere else in the stack."""

    sender: str = CLARA

    options: tuple[str, ...] = ()
    """Of the SMTP command MAIL."""

    waits: bool = False
    """Nobody has a certificate: it must not be taken."""

    encrypted_by: str = ""
    """Who, if it comes encrypted."""

    hides_recipient: str = ""
    """Somebody in Bcc."""

    @property
    def leaves(self) -> bool:
        """Whether one of the users has handed it in."""
        return self.sender != CLARA

    @property
    def arrives_encrypted(self) -> bool:
        """Whether somebody has encrypted it before it comes to its recipient's provider."""
        return bool(self.encrypted_by)


def six_mails(alice: Owner) -> tuple[Mail, ...]:
    """Return them in the order in which they are sent. The fifth is encrypted to `alice`."""
    return (
        _to_both(),
        _with_bcc(),
        _eight_bit(),
        _with_attachment(),
        _already_encrypted(alice),
        _without_certificate(),
    )


def _to_both() -> Mail:
    return Mail(
        title="one mail for both",
        about="Clara writes to Alice and Bob. The server takes one mail and stores two copies: "
        "one that only Alice can open, one that only Bob can open.",
        octets=_octets(
            1,
            {"To": f"Alice <{ALICE}>, Bob <{BOB}>", "Subject": "Paragliding on Saturday"},
            "Dear both,\n\nwe meet at the weather station at nine.\nI bring marmalade "
            "sandwiches.\n\nClara\n",
        ),
        to=(ALICE, BOB),
        secrets=("Paragliding", "weather station", "marmalade"),
    )


def _with_bcc() -> Mail:
    return Mail(
        title="with a blind copy (Bcc)",
        about="The mail says it is for Alice. Bob gets a blind copy, of which Alice must not know. "
        "His copy is a mail of its own, so hers does not even name his key.",
        octets=_octets(
            2,
            {"To": f"Alice <{ALICE}>", "Subject": "Resignation of the treasurer"},
            "Alice,\n\nthe auditors found the embezzlement.\nPlease tell nobody yet.\n\nClara\n",
        ),
        to=(ALICE, BOB),
        secrets=("Resignation", "auditors", "embezzlement"),
        hides_recipient=BOB,
    )


def _eight_bit() -> Mail:
    fields = {
        "To": f"Alice <{ALICE}>",
        "Subject": _encoded_word("Grüße vom Wörthersee"),
        "MIME-Version": "1.0",
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Transfer-Encoding": "8bit",
    }
    text = "Kaiserschmarrn für alle, 12,50 €.\n日本からも、よろしく。\nŽivjeli!\n"
    return Mail(
        title="beyond ASCII (8-bit)",
        about="Umlauts, Japanese and a euro sign, sent as raw octets. What is encrypted are the "
        "octets themselves, so no character can get damaged on the way.",
        octets=_octets(3, fields, text),
        to=(ALICE,),
        secrets=("Wörthersee", "Kaiserschmarrn", "日本から"),
        options=("BODY=8BITMIME",),
    )


ATTACHMENT_NAME = "haemoglobin.csv"
ATTACHMENT = "day,leucocytes,thrombocytes\r\n" + "".join(
    f"{day},{5000 + day * 37 % 900},{200000 + day * 7919 % 90000}\r\n" for day in range(1, 61)
)


def _with_attachment() -> Mail:
    boundary = "next-part-0451"
    encoded = "\n".join(textwrap.wrap(base64.b64encode(ATTACHMENT.encode()).decode(), 76))
    body = (
        f"--{boundary}\nContent-Type: text/plain; charset=us-ascii\n\n"
        "Your blood test is attached.\nNothing to worry about.\n"
        f'--{boundary}\nContent-Type: text/csv; name="{ATTACHMENT_NAME}"\n'
        f'Content-Disposition: attachment; filename="{ATTACHMENT_NAME}"\n'
        f"Content-Transfer-Encoding: base64\n\n{encoded}\n--{boundary}--\n"
    )
    fields = {
        "From": f"Dr. Nachtigall <{CLARA}>",
        "To": f"Bob <{BOB}>",
        "Subject": "Laboratory results",
        "MIME-Version": "1.0",
        "Content-Type": f'multipart/mixed; boundary="{boundary}"',
    }
    return Mail(
        title="with an attachment",
        about="A laboratory sends a table. For Bob the provider has chosen the strict setting: "
        "the sender's name, the subject and the name of the file are locked away as well.",
        octets=_octets(4, fields, body),
        to=(BOB,),
        secrets=("Nachtigall", "Laboratory", "blood test", "haemoglobin", "leucocytes"),
    )


def _already_encrypted(alice: Owner) -> Mail:
    inner = (
        b"Content-Type: text/plain; charset=us-ascii\r\n\r\n"
        b"The whistleblower waits in Reykjavik.\r\n"
    )
    to_alice = ("--armor", "--encrypt", "--recipient", alice.address)
    armored = alice.gpg(*to_alice, stdin=inner).decode()
    boundary = "pgp-mime-0451"
    body = (
        f"--{boundary}\nContent-Type: application/pgp-encrypted\n\nVersion: 1\n\n"
        f"--{boundary}\nContent-Type: application/octet-stream\n\n{armored}--{boundary}--\n"
    )
    fields = {
        "To": f"Alice <{ALICE}>",
        "Subject": "...",
        "Keywords": "Hummingbird",
        "MIME-Version": "1.0",
        "Content-Type": 'multipart/encrypted; protocol="application/pgp-encrypted";'
        f'\n boundary="{boundary}"',
    }
    return Mail(
        title="already encrypted by its sender",
        about="Clara has encrypted this one to Alice herself. Her encryption stays as it is, "
        "because mail programs expect just one. Letterlock only locks header fields away.",
        octets=_octets(5, fields, body),
        to=(ALICE,),
        secrets=("whistleblower", "Reykjavik", "Hummingbird"),
        encrypted_by="Clara",
    )


def _without_certificate() -> Mail:
    return Mail(
        title="for somebody without a certificate",
        about="Zoe has not given the provider a certificate yet. Her mail is not stored in the "
        "clear instead: the sender's server is asked to keep it and to try again later.",
        octets=_octets(
            6,
            {"To": f"Zoe <{ZOE}>", "Subject": "Your divorce papers"},
            "Dear Zoe,\n\nthe court has settled the guardianship.\n\nClara\n",
        ),
        to=(ZOE,),
        secrets=("divorce papers", "guardianship"),
        waits=True,
    )


def _octets(number: int, fields: dict[str, str], body: str) -> bytes:
    now = datetime.now(UTC)
    header = {
        "From": f"Clara Winter <{CLARA}>",
        "Date": format_datetime(now),
        "Message-ID": f"<{number}.{now:%Y%m%d%H%M%S}@outside.test>",
        **fields,
    }
    text = "".join(f"{name}: {value}\n" for name, value in header.items()) + f"\n{body}"
    return text.replace("\r\n", "\n").replace("\n", "\r\n").encode()


def _encoded_word(text: str) -> str:
    """RFC 2047 §4.1."""
    return f"=?utf-8?B?{base64.b64encode(text.encode()).decode()}?="
