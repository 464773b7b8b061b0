"""`letterlock policy show|set|unset`: how mail for and from one mailbox is treated."""

from enum import Enum

import click
import msgspec

from keyservice.client import Mailbox, MailboxPolicy, PolicyView, SenderPolicy
from letterlock.cli.output import console, print_json, print_table
from letterlock.cli.service import MailboxParameter, delay_note, key_service, speaks_with_service

_DEFAULTS = msgspec.structs.asdict(MailboxPolicy()) | msgspec.structs.asdict(SenderPolicy())
_NAMES = tuple(_DEFAULTS)


@click.group()
def policy() -> None:
    """Show or override how mail for and from a mailbox is treated.

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
    """Override settings for ADDRESS, e.g. header_policy=hcp_all keep_outside=X-Spam-Flag,X-Spam.

    Or outgoing=required outgoing_level=3 copy_to_self=true.
    """
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
    return name, _value(name, value)


def _value(name: str, text: str) -> object:
    match _DEFAULTS[name]:
        case tuple():
            return [part.strip() for part in text.split(",") if part.strip()]
        case bool():
            try:
                return msgspec.convert(text, bool, strict=False)
            except msgspec.ValidationError:
                raise click.BadParameter(f"{name}: expected true or false") from None
        case Enum() as default:
            allowed = {str(one.value): one.value for one in type(default)}
            if text not in allowed:
                raise click.BadParameter(f"{name}: expected one of {', '.join(allowed)}")
            return allowed[text]
        case _:
            return text


def _print(view: PolicyView, as_json: bool) -> None:
    if as_json:
        print_json(view)
        return
    rows = [(name, _text(view, name), view.sources[name].value) for name in _NAMES]
    print_table(view.mailbox, ("setting", "value", "decided by"), rows)
    if note := delay_note(view.effective_within):
        console().print(note)


def _text(view: PolicyView, name: str) -> str:
    settings = msgspec.to_builtins(view.policy) | msgspec.to_builtins(view.sender_policy)
    match settings[name]:
        case list() | tuple() as names:
            return ", ".join(names)
        case bool() as is_on:
            return str(is_on).lower()
        case setting:
            return str(setting)
