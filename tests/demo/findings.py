"""What the demo says at the end: the thief's findings, the counters, the promises."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.panel import Panel
from rich.text import Text

from demo.page import Page, mark, table_of
from demo.promises import Count, Promise
from demo.thief import Searched

_REASONS = 6
"""Shown of what speaks against one promise."""


def thief(page: Page, searched: Sequence[Searched], words: Sequence[str]) -> None:
    """Show what was searched and found."""
    page.heading("The thief takes the disks")
    page.say(
        f"The thief has every file of both servers and looks for {len(words)} words that stand "
        "in the eight mails and nowhere else: in subjects, texts, the attachment and its name. "
        "Each is looked for as it is and in the encodings that mail and databases use: "
        "base64, quoted-printable, UTF-16, hexadecimal."
    )
    table = table_of("", "Place", "Files", "Size", "Words found")
    for column in table.columns[2:]:
        column.justify = "right"
    for place in searched:
        size = f"{place.octets / 1000:,.0f} KB"
        found = f"{len(place.found)}" if place.found else "none"
        row = (mark(good=not place.found), place.place, str(place.files), size, found)
        table.add_row(*row)
    page.show(table)
    page.say(
        "What the thief does learn: which mailbox got mail, from which address, when and how "
        "much. A mail server needs that for delivery and writes it to its log. In Alice's "
        "mailbox the names in From and To are legible, too."
    )
    page.say(
        "What this search comes too late for: while Postfix takes a mail, its queue file holds "
        "it in the clear, and traces of it until it is delivered; here, a fraction of a "
        "second. So keep the queue on an encrypted disk. The README says more."
    )


def counters(page: Page, counts: Iterable[Count]) -> None:
    """Show what monitoring sees."""
    page.heading("The counters")
    page.say("For the operator's monitoring (Prometheus). No address ever stands in them.")
    table = table_of("", "What, and the name of its metric", "Counted", "Expected")
    for column in table.columns[2:]:
        column.justify = "right"
    for count in counts:
        good = count.read == count.expected
        what = Text.assemble(count.meaning, (f"\n{count.name}", "dim"), overflow="fold")
        table.add_row(mark(good=good), what, f"{count.read:g}", str(count.expected))
    page.show(table)


def verdict(page: Page, promises: Sequence[Promise], seconds: float) -> None:
    """List the promises, and say where to go next or what went wrong."""
    page.heading("What was promised")
    table = table_of()
    for promise in promises:
        table.add_row(mark(good=promise.is_kept), promise.text)
    page.show(table)
    broken = [promise for promise in promises if not promise.is_kept]
    page.panel(_broken(broken) if broken else _kept(len(promises), seconds))


def stopped(page: Page, left: Path | None) -> None:
    """Say that nothing runs any more. `left`: the directory, unless that is deleted."""
    what = f"What they stored is in {left} to look at." if left else "Their files are deleted."
    page.say(f"The mail servers are stopped. {what}")


def failure(page: Page, reason: str) -> None:
    """Say that there was no demo."""
    page.panel(Panel(Text(reason), title="The demo could not be run", border_style="red"))


def _kept(number: int, seconds: float) -> Panel:
    return Panel(
        f"All {number} promises were kept, in {seconds:.0f} seconds.\n\n"
        "[bold]Where to go next[/bold]\n"
        "  README.md          set it up beside your own Postfix, and what it does not protect\n"
        "  docs/format.md     what a stored mail looks like; how to open it without Letterlock\n"
        "  ./dev up DIR       the same mail server, to play with until ./dev down DIR",
        border_style="green",
        padding=(1, 2),
    )


def _broken(promises: Sequence[Promise]) -> Panel:
    text = Text()
    for promise in promises:
        text.append(f"{promise.text}\n", style="bold")
        text.append("".join(f"  {reason}\n" for reason in promise.broken[:_REASONS]))
        if len(promise.broken) > _REASONS:
            text.append(f"  … and {len(promise.broken) - _REASONS} more\n")
    text.rstrip()
    title = (
        "1 promise was broken" if len(promises) == 1 else f"{len(promises)} promises were broken"
    )
    return Panel(text, title=title, border_style="red", padding=(1, 2))
