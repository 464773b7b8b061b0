"""One copy, twice: as it lies on the provider's disk, and as its owner reads it."""

import re
from email import message_from_bytes
from email.message import Message, MIMEPart
from email.policy import default

from rich.console import Console, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from demo.evidence import Copy
from demo.mails import Mail

_OUTSIDE = ("From", "To", "Subject", "Keywords", "Date", "Letterlock-Header")
_INSIDE = ("From", "To", "Subject", "Keywords")
_ON_THE_WAY = ("From", "To", "Subject", "Autocrypt", "DKIM-Signature")
_CIPHERTEXT_LINES = 3
_LEGIBLE_LINES = 12
_ARMOR = re.compile(r"-----BEGIN PGP MESSAGE-----\r?\n(?:\w+:.*\r?\n)*\r?\n(?P<lines>[^-]*)")


def both_sides(console: Console, mail: Mail, copy: Copy) -> RenderableType:
    """Return the two views of `copy`, side by side."""
    left = ("on the provider's disk", on_disk(copy.stored))
    if mail.leaves:
        left = ("on the way to the other provider", on_the_way(mail.octets))
    return beside(
        console,
        left,
        (f"what {first_name(copy.owner.address)} reads", as_read(mail, copy)),
    )


def beside(console: Console, disk: tuple[str, Text], reader: tuple[str, Text]) -> RenderableType:
    """Return two panels of the same height, each with a title."""
    width = console.width // 2
    options = console.options.update(width=width - 4)
    height = 2 + max(len(console.render_lines(text, options)) for _, text in (disk, reader))
    grid = Table.grid(expand=True)
    grid.add_column(width=width)
    grid.add_column(width=console.width - width)
    panels = [
        Panel(text, title=title, title_align="left", border_style=style, height=height)
        for (title, text), style in ((disk, "yellow"), (reader, "green"))
    ]
    grid.add_row(*panels)
    return grid


def on_disk(stored: bytes) -> Text:
    """Return what a thief sees: the fields that people look at, and the beginning of the rest."""
    # Legible is not what was promised, and so to be seen.
    return _seen(stored, _OUTSIDE, legible="red")


def on_the_way(wire: bytes) -> Text:
    """Return what somebody sees who listens between the providers."""
    return _seen(wire, _ON_THE_WAY, legible="yellow")


def _seen(mail: bytes, names: tuple[str, ...], legible: str) -> Text:
    text = Text(overflow="ellipsis", no_wrap=True)
    _fields(text, message_from_bytes(mail), names)
    armor = _ARMOR.search(mail.decode(errors="replace"))
    if armor is None:
        body = mail.replace(b"\r\n", b"\n").partition(b"\n\n")[2]
        lines = body.decode(errors="replace").splitlines()[:_LEGIBLE_LINES]
        text.append("\n" + "\n".join(lines), style=legible)
        return text
    lines = armor["lines"].split()
    text.append("\n-----BEGIN PGP MESSAGE-----\n")
    text.append("\n".join(lines[:_CIPHERTEXT_LINES]))
    more = len(lines) - _CIPHERTEXT_LINES
    if more > 0:
        text.append(f"\n… and {more} more lines of this kind", style="dim")
    return text


def as_read(mail: Mail, copy: Copy) -> Text:
    """Return what a mail program shows after it has decrypted."""
    if copy.original is None:
        return Text("Nothing that the owner's key could open.", style="red")
    message = message_from_bytes(copy.original, policy=default)
    text = Text(overflow="fold")
    if mail.arrives_encrypted:
        inner = message_from_bytes(copy.inner or b"", policy=default)
        _fields(text, inner if inner["Subject"] else message, _INSIDE)
        text.append(f"\n{_content(inner)}")
        text.append(f"\n\n(she opens what {mail.encrypted_by} encrypted)", style="dim")
        return text
    _fields(text, message, _INSIDE)
    text.append("\n")
    body = message.get_body(("plain",))
    text.append(_content(body) if body is not None else "")
    for part in message.iter_attachments():
        size = len(part.get_payload(decode=True))
        text.append(f"\n\nAttachment: {part.get_filename()}, {size:,} octets\n", style="bold")
        text.append("\n".join(_content(part).splitlines()[:2]) + "\n…", style="dim")
    return text


def first_name(address: str) -> str:
    """Return how the demo calls the owner of `address`."""
    return address.partition("@")[0].capitalize()


def _content(part: MIMEPart) -> str:
    return str(part.get_content()).replace("\r\n", "\n").rstrip()


def _fields(text: Text, message: Message, names: tuple[str, ...]) -> None:
    for name in names:
        if (value := message[name]) is not None:
            text.append(f"{name}: ", style="bold")
            text.append(" ".join(str(value).split()) + "\n")
