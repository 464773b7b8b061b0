"""`letterlock policy show|set|unset`: how the mail of one mailbox is treated."""

import click

from keyservice.client import Mailbox, MailboxPolicy, PolicyView
from letterlock.cli.service import (
    MailboxParameter,
    console,
    delay_note,
    key_service,
    print_json,
    print_table,
    speaks_with_service,
)

_NAMES = MailboxPolicy.__struct_fields__
_LISTS = ("keep_outside",)


@click.group()
def policy() -> None:
    """Show or override how mail for a mailbox is treated.

    The domain's policy is in the key service's configuration.
    """


@policy.command()
@click.argument("mailbox", metavar="ADDRESS", type=MailboxParameter())
@speaks_with_service
def show(mailbox: Mailbox, service: str, as_json: bool) -> None:
    """Show the policy of ADDRESS and where each setting comes from."""
    with key_service(service) as client:
        view = client.policy(mailbox)
    _print(view, as_json)


@policy.command("set")
@click.argument("mailbox", metavar="ADDRESS", type=MailboxParameter())
@click.argument("settings", metavar="KEY=VALUE...", nargs=-1, required=True)
@speaks_with_service
def set_(mailbox: Mailbox, settings: tuple[str, ...], service: str, as_json: bool) -> None:
    """Override settings for ADDRESS, e.g. header_policy=hcp_all keep_outside=X-Spam-Flag,X-Spam."""
    changes = dict(_setting(text) for text in settings)
    with key_service(service) as client:
        view = client.set_policy(mailbox, changes)
    _print(view, as_json)


@policy.command()
@click.argument("mailbox", metavar="ADDRESS", type=MailboxParameter())
@click.argument("names", metavar="KEY...", nargs=-1, required=True, type=click.Choice(_NAMES))
@speaks_with_service
def unset(mailbox: Mailbox, names: tuple[str, ...], service: str, as_json: bool) -> None:
    """Let the domain decide settings of ADDRESS again."""
    with key_service(service) as client:
        views = [client.unset_policy(mailbox, name) for name in names]
    _print(views[-1], as_json)


def _setting(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals or name not in _NAMES:
        raise click.BadParameter(f"expected KEY=VALUE, KEY one of {', '.join(_NAMES)}")
    if name in _LISTS:
        return name, [part.strip() for part in value.split(",") if part.strip()]
    return name, value


def _print(view: PolicyView, as_json: bool) -> None:
    if as_json:
        print_json(view)
        return
    rows = [(name, _text(view, name), view.sources[name].value) for name in _NAMES]
    print_table(view.mailbox, ("setting", "value", "decided by"), rows)
    if note := delay_note(view.effective_within):
        console().print(note)


def _text(view: PolicyView, name: str) -> str:
    match getattr(view.policy, name):
        case tuple() as names:
            return ", ".join(names)
        case str() as text:
            return text
        case setting:
            return str(setting.value)
