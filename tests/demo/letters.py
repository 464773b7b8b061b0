"""A mail to another provider, and the answer to it."""

from datetime import UTC, datetime
from email.utils import format_datetime

from demo.mails import ALICE, Mail

NEIGHBOUR = "neighbour.test"
DORA = f"dora@{NEIGHBOUR}"
PROGRAM = "Letterwriter/3.1"
"""What both write with; nothing that leaves may say it."""


def to_dora() -> Mail:
    """Return what Alice's mail program hands in."""
    return Mail(
        title="Alice writes to Dora",
        about="Alice's provider adds her certificate to her mail (Autocrypt) and signs it (DKIM). "
        "It knows no certificate of Dora's, so the mail travels legibly. It is locked where it "
        "arrives, and Dora's provider keeps the certificate that came with it.",
        octets=_octets(
            "Alice",
            ALICE,
            {"To": f"Dora <{DORA}>", "Subject": "The surgery"},
            "Dear Dora,\n\nthe biopsy is on Monday.\nWill you take the tortoise?\n\nAlice\n",
        ),
        to=(DORA,),
        secrets=("surgery", "biopsy", "tortoise"),
        sender=ALICE,
    )


def to_alice() -> Mail:
    """Return what Dora's mail program hands in."""
    return Mail(
        title="Dora replies",
        about="Now a certificate of Alice's is known, so the reply leaves encrypted. Neither Alice "
        "nor Dora has done anything for it; both type and read as ever.",
        octets=_octets(
            "Dora",
            DORA,
            {"To": f"Alice <{ALICE}>", "Subject": "The terrarium"},
            "Dear Alice,\n\nof course. I have dandelions.\n\nDora\n",
        ),
        to=(ALICE,),
        secrets=("terrarium", "dandelions"),
        sender=DORA,
        encrypted_by="Dora's provider",
    )


def _octets(name: str, address: str, fields: dict[str, str], body: str) -> bytes:
    header = {
        "From": f"{name} <{address}>",
        **fields,
        "Date": format_datetime(datetime.now(UTC)),
        "User-Agent": PROGRAM,
    }
    text = "".join(f"{name}: {value}\n" for name, value in header.items()) + f"\n{body}"
    return text.replace("\n", "\r\n").encode()
