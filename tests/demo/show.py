"""What the demo says. Words for an operator and for the owner of a mailbox."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from demo.evidence import Copy, Delivery
from demo.mails import ALICE, BOB, ZOE, Mail
from demo.panels import beside, both_sides, first_name
from demo.promises import Count, Promise
from demo.thief import Searched
from stack import Owner

_DAEMONS = (
    ("Postfix", "takes mail from the outside world"),
    ("Letterlock milter", "encrypts each mail on its way in (milter: mail filter)"),
    ("Letterlock key service", "knows which certificate belongs to which mailbox"),
    ("Redis", "remembers its answers, so that they come fast"),
    ("Dovecot", "stores the mail; owners fetch it there"),
)

_REASONS = 6
"""Shown of what speaks against one promise."""


class Narrator:
    """Tells on `console` what happens."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def introduction(self) -> None:
        """Say what this is."""
        self._console.print(
            Panel(
                "Letterlock locks every incoming mail for its owner, before the mail server "
                "stores it.\n\n"
                "This demo runs a mail server of its own on this machine and sends it six mails. "
                "Then it looks at them from two sides: that of a thief who walks off with the "
                "provider's disk, and that of the owners at home.\n\n"
                "It needs one temporary directory and some loopback ports. Mail servers that are "
                "already here stay as they are, and nothing leaves this machine.",
                title="Letterlock: the demo",
                border_style="cyan",
                padding=(1, 2),
            )
        )
        self._console.print()

    def daemons(self) -> None:
        """List what runs."""
        self._heading("The mail server")
        table = _table()
        for name, purpose in _DAEMONS:
            table.add_row(_mark(good=True), name, purpose)
        self._print(table)

    def owners(self, owners: Iterable[Owner]) -> None:
        """Introduce those who have a key."""
        self._heading("Two owners and their keys")
        self._say(
            "Alice and Bob have each made a pair of keys with gpg. The public half is called a "
            "certificate: it can only lock. The provider got no more than that. The secret half "
            "unlocks; it stays with its owner, outside of the server. What Alice and Bob read "
            "below is what their own gpg made of the stored files."
        )
        settings = {
            ALICE: "sender, recipients, date; not the subject (usual setting)",
            BOB: "nothing that the sender wrote (strict setting)",
        }
        table = _table("Mailbox", "Certificate", "What stays legible on the disk")
        for owner in owners:
            table.add_row(owner.address, f"…{owner.fingerprint[-16:]}", settings[owner.address])
        table.add_row(ZOE, "none so far", "nothing is stored; her mail has to wait")
        self._print(table)

    def delivery(self, number: int, of: int, delivery: Delivery) -> None:
        """Show one mail from both sides."""
        mail = delivery.mail
        self._heading(f"Mail {number} of {of}: {mail.title}")
        self._say(mail.about)
        for copy in delivery.copies:
            self._console.print(both_sides(self._console, mail, copy))
            self._print(_verdict(mail, copy))
        if mail.waits:
            self._refusal(delivery)
        elif not delivery.copies:
            reason = delivery.reply or "it did not arrive in time"
            self._print(Text(f"✗ This mail was not delivered: {reason}", style="bold red"))

    def thief(self, searched: Sequence[Searched], words: Sequence[str]) -> None:
        """Show what was searched and found."""
        self._heading("The thief takes the disk")
        self._say(
            f"The thief has every file of the server and looks for {len(words)} words that stand "
            "in the six mails and nowhere else: in subjects, texts, the attachment and its name. "
            "Each is looked for as it is and in every encoding that mail and databases use: "
            "base64, quoted-printable, UTF-16, hexadecimal."
        )
        table = _table("", "Place", "Files", "Size", "Words found")
        for column in table.columns[2:]:
            column.justify = "right"
        for place in searched:
            size = f"{place.octets / 1000:,.0f} KB"
            found = f"{len(place.found)}" if place.found else "none"
            row = (_mark(good=not place.found), place.place, str(place.files), size, found)
            table.add_row(*row)
        self._print(table)
        self._say(
            "What the thief does learn: which mailbox got mail, from which address, when and how "
            "much. A mail server needs that for delivery and writes it to its log. In Alice's "
            "mailbox the names in From and To are legible, too."
        )
        self._say(
            "What this search comes too late for: while Postfix takes a mail, its queue file holds "
            "it in the clear, and traces of it until it is delivered; here, some hundredths of a "
            "second. So keep the queue on an encrypted disk. The README says more."
        )

    def counters(self, counts: Iterable[Count]) -> None:
        """Show what monitoring sees."""
        self._heading("The counters")
        self._say("For the operator's monitoring (Prometheus). No address ever stands in them.")
        table = _table("", "What, and the name of its metric", "Counted", "Sent")
        for column in table.columns[2:]:
            column.justify = "right"
        for count in counts:
            good = count.read == count.expected
            what = Text.assemble(count.meaning, (f"\n{count.name}", "dim"), overflow="fold")
            table.add_row(_mark(good=good), what, f"{count.read:g}", str(count.expected))
        self._print(table)

    def verdict(self, promises: Sequence[Promise], seconds: float) -> None:
        """List the promises, and say where to go next or what went wrong."""
        self._heading("What was promised")
        table = _table()
        for promise in promises:
            table.add_row(_mark(good=promise.is_kept), promise.text)
        self._print(table)
        broken = [promise for promise in promises if not promise.is_kept]
        self._console.print(_broken(broken) if broken else _kept(len(promises), seconds))

    def stopped(self, left: Path | None) -> None:
        """Say that nothing runs any more. `left`: the directory, unless that is deleted."""
        what = f"What it stored is in {left} to look at." if left else "Its directory is deleted."
        self._say(f"The mail server is stopped. {what}")

    def failure(self, reason: str) -> None:
        """Say that there was no demo."""
        self._console.print(
            Panel(Text(reason), title="The demo could not be run", border_style="red")
        )

    def _refusal(self, delivery: Delivery) -> None:
        disk = Text("Nothing. No file, no entry in the queue.")
        if not delivery.reply:
            disk = Text("The mail. It was taken without encryption.", style="red")
        told = Text.assemble((delivery.reply or "250 Ok", "bold"))
        if delivery.reply.startswith("450"):
            told.append(
                "\n\n450 means: not now. Mail servers try again by themselves, often for five days."
            )
        sides = ("on the provider's disk", disk), ("what the sender's server is told", told)
        self._console.print(beside(self._console, *sides))
        self._console.print()

    def _heading(self, text: str) -> None:
        self._console.print(Rule(Text(text, style="bold cyan"), align="left", style="cyan"))

    def _say(self, text: str) -> None:
        self._console.print(Padding(text, (0, 1, 1, 1)))

    def _print(self, what: Table | Text) -> None:
        self._console.print(Padding(what, (0, 1, 1, 1)))


def _verdict(mail: Mail, copy: Copy) -> Text:
    name = first_name(copy.owner.address)
    alone = copy.key_ids == {copy.owner.subkey_fingerprint[-16:]} and not copy.opened_by_others
    same = copy.original == mail.octets
    opens = "opens" if alone else "does not open"
    restored = f"the same {len(mail.octets):,} octets" if same else "not the octets"
    return Text.assemble(
        _mark(good=alone),
        f" {opens} with {name}'s key only   ",
        _mark(good=same),
        f" restored: {restored} that were sent",
    )


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


def _table(*columns: str) -> Table:
    table = Table(box=None, show_header=bool(columns), header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column)
    return table


def _mark(*, good: bool) -> Text:
    return Text("✓", style="bold green") if good else Text("✗", style="bold red")
