"""What the demo says of the stack and of each mail. For operators and owners of mailboxes."""

from collections.abc import Iterable

from rich.panel import Panel
from rich.text import Text

from demo.evidence import Copy, Delivery
from demo.letters import DORA, NEIGHBOUR
from demo.mails import ALICE, BOB, ZOE, Mail
from demo.page import Page, mark, table_of
from demo.panels import beside, both_sides, first_name
from stack import Owner

_DAEMONS = (
    ("Postfix", "takes mail from the outside world"),
    ("Letterlock milter", "encrypts each mail on its way in (milter: mail filter)"),
    ("Letterlock key service", "knows which certificate belongs to which mailbox"),
    ("Redis", "remembers its answers, so that they come fast"),
    ("Dovecot", "stores the mail; owners fetch it there"),
)


def introduction(page: Page) -> None:
    """Say what this is."""
    page.panel(
        Panel(
            "Letterlock locks every incoming mail for its owner, before the mail server "
            "stores it.\n\n"
            "This demo runs a mail server of its own on this machine and sends it six mails. "
            "Then it looks at them from two sides: that of a thief who walks off with the "
            "provider's disk, and that of the owners at home. Two more mails go to a second "
            "provider and back.\n\n"
            "It needs one temporary directory and some loopback ports. Mail servers that are "
            "already here stay as they are, and nothing leaves this machine.",
            title="Letterlock: the demo",
            border_style="cyan",
            padding=(1, 2),
        )
    )
    page.panel("")


def daemons(page: Page) -> None:
    """List what runs."""
    page.heading("The mail server")
    table = table_of()
    for name, purpose in _DAEMONS:
        table.add_row(mark(good=True), name, purpose)
    page.show(table)


def owners(page: Page, owners: Iterable[Owner]) -> None:
    """Introduce those who have a key."""
    page.heading("Two owners and their keys")
    page.say(
        "Alice and Bob have each made a pair of keys with gpg. The public half is called a "
        "certificate: it can only lock. The provider got no more than that. The secret half "
        "unlocks; it stays with its owner, outside of the server. What Alice and Bob read "
        "below is what their own gpg made of the stored files."
    )
    settings = {
        ALICE: "sender, recipients, date; not the subject (usual setting)",
        BOB: "nothing that the sender wrote (strict setting)",
    }
    table = table_of("Mailbox", "Certificate", "What stays legible on the disk")
    for owner in owners:
        table.add_row(owner.address, f"…{owner.fingerprint[-16:]}", settings[owner.address])
    table.add_row(ZOE, "none so far", "nothing is stored; her mail has to wait")
    page.show(table)


def second_provider(page: Page, dora: Owner) -> None:
    """Introduce whom Alice writes to."""
    page.heading("A second provider")
    page.say(
        f"Dora's mailbox is at another provider, {NEIGHBOUR}, which runs Letterlock, too. Alice "
        "and Dora send mail as everybody does, through their own provider; a client certificate "
        "in their mail programs proves who they are. Nobody has told either provider anything "
        "about users of the other."
    )
    table = table_of("Mailbox", "Certificate", "Known to")
    table.add_row(DORA, f"…{dora.fingerprint[-16:]}", f"{NEIGHBOUR} only")
    page.show(table)


def delivery(page: Page, number: int, of: int, delivery: Delivery) -> None:
    """Show one mail from both sides."""
    mail = delivery.mail
    page.heading(f"Mail {number} of {of}: {mail.title}")
    page.say(mail.about)
    for copy in delivery.copies:
        page.panel(both_sides(page.console, mail, copy))
        page.show(_verdict(mail, copy))
    if mail.waits:
        _refusal(page, delivery)
    elif not delivery.copies:
        reason = delivery.reply or "it did not arrive in time"
        page.show(Text(f"✗ This mail was not delivered: {reason}", style="bold red"))


def _refusal(page: Page, delivery: Delivery) -> None:
    disk = Text("Nothing. No file, no entry in the queue.")
    if not delivery.reply:
        disk = Text("The mail. It was taken without encryption.", style="red")
    told = Text.assemble((delivery.reply or "250 Ok", "bold"))
    if delivery.reply.startswith("450"):
        told.append(
            "\n\n450 means: not now. Mail servers try again by themselves, often for five days."
        )
    sides = ("on the provider's disk", disk), ("what the sender's server is told", told)
    page.panel(beside(page.console, *sides))
    page.panel("")


def _verdict(mail: Mail, copy: Copy) -> Text:
    name = first_name(copy.owner.address)
    alone = copy.key_ids == {copy.owner.subkey_fingerprint[-16:]} and not copy.opened_by_others
    same = copy.original == mail.octets
    opens = "opens" if alone else "does not open"
    restored = f"the same {len(mail.octets):,} octets" if same else "not the octets"
    return Text.assemble(
        mark(good=alone),
        f" {opens} with {name}'s key only   ",
        mark(good=same),
        f" restored: {restored} that were sent",
    )
