"""From a forward-path to the final mailboxes, as Postfix will resolve it. Pure.

The tables are Postfix's own and are asked through `Tables`; here are only the rules by
which Postfix combines their answers: virtual(5), aliases(5), postconf(5) on
recipient_delimiter and propagate_unmatched_extensions.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from keyservice.client import InvalidMailbox, Mailbox
from letterlock.errors import MailboxMalformed, TablesUnavailable

EXPANSION_MAX = 1000
"""Postfix's own bound: virtual_alias_expansion_limit, postconf(5)."""

_NEVER_SPLIT = frozenset({"postmaster", "mailer-daemon", "double-bounce"})
_ITEM = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^,\s"])+')
"""Postfix takes blanks between addresses for commas."""


class Unresolvable(TablesUnavailable):
    """The tables were asked, and lead to no mailboxes, or to some that cannot be told."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings of Postfix that say how its tables are combined."""

    origin: str
    """myorigin: the domain of an address that has none."""

    delimiters: str = ""
    propagate_virtual: bool = True


class Tables(Protocol):
    """Postfix's tables. Every method raises TablesUnavailable when they cannot be asked."""

    rules: Rules

    def virtual(self, keys: Sequence[str]) -> str | None:
        """Return the value of the first of `keys` that virtual_alias_maps has."""

    def local(self, keys: Sequence[str]) -> str | None:
        """Return the value of the first of `keys` that alias_maps has, if local(8) delivers."""

    def is_local(self, domain: str) -> bool:
        """Whether mydestination has `domain`: then keys without a domain count, too."""


@dataclass(frozen=True, slots=True)
class FinalRecipient:
    """Where one copy goes: `address` with its extension, `mailbox` without."""

    address: str
    mailbox: Mailbox


def final_recipients(forward_path: str, tables: Tables) -> tuple[FinalRecipient, ...]:
    """Return the final recipients behind `forward_path`, each address once, in order.

    Raises MailboxMalformed for an address that is not a mailbox, Unresolvable where the
    tables lead nowhere, TablesUnavailable where they do not answer.
    """
    # Line ends would ask the tables something else than was meant.
    if not forward_path.isprintable():
        raise MailboxMalformed("forbidden character")
    finals: dict[str, FinalRecipient] = {}
    seen: set[str] = set()
    pending = [with_domain(forward_path, tables.rules)]
    while pending:
        address = pending.pop(0)
        if address.lower() in seen:
            continue
        seen.add(address.lower())
        if has_route(address):
            raise MailboxMalformed("route in the local part")
        if len(seen) > EXPANSION_MAX:
            raise Unresolvable("alias expansion exceeds its limit")
        targets = _expand_once(address, tables)
        if address.lower() in [target.lower() for target in targets]:
            finals[address.lower()] = _final(address, tables.rules)
        pending = [t for t in targets if t.lower() != address.lower()] + pending
    if not finals:
        raise Unresolvable("alias expansion leads nowhere")
    return tuple(finals.values())


def has_route(address: str) -> bool:
    """Whether trivial-rewrite(8) makes another address of it, which nobody would look up.

    `user%domain` and `domain!user`: postconf(5), allow_percent_hack, swap_bangpath.
    """
    local_part = address.rpartition("@")[0]
    return "%" in local_part or "!" in local_part


def with_domain(address: str, rules: Rules) -> str:
    """Return the address as Postfix completes it: myorigin where it has no domain."""
    complete = address if "@" in address else f"{address}@{rules.origin}"
    # trivial-rewrite(8) takes the dot away before any table is asked.
    return complete.removesuffix(".")


def split_extension(local_part: str, delimiters: str) -> tuple[str, str]:
    """Split `alice+tag` into `alice` and `+tag` (postconf(5), recipient_delimiter)."""
    lowered = local_part.lower()
    if lowered in _NEVER_SPLIT:
        return local_part, ""
    # postconf(5), owner_request_special.
    if "-" in delimiters and (lowered.startswith("owner-") or lowered.endswith("-request")):
        return local_part, ""
    at = min((i for d in delimiters if (i := local_part.find(d)) > 0), default=len(local_part))
    # A local part that starts with a delimiter has no extension.
    if local_part[:1] in set(delimiters):
        return local_part, ""
    return local_part[:at], local_part[at:]


def search_keys(address: str, rules: Rules, *, is_local: bool) -> list[str]:
    """Return what Postfix looks up for a complete address, in its order.

    virtual(5), "TABLE SEARCH ORDER"; postconf(5), smtpd_sender_login_maps. `is_local`: whether
    mydestination has the domain.
    """
    local_part, _, domain = address.rpartition("@")
    base, extension = split_extension(local_part, rules.delimiters)
    local_parts = [local_part, base] if extension else [local_part]
    keys = [f"{each}@{domain}" for each in local_parts]
    if is_local or domain.lower() == rules.origin.lower():
        keys += local_parts
    return [*keys, f"@{domain}"]


def _expand_once(address: str, tables: Tables) -> list[str]:
    local_part, _, domain = address.rpartition("@")
    base, extension = split_extension(local_part, tables.rules.delimiters)
    is_local = tables.is_local(domain)
    value = tables.virtual(search_keys(address, tables.rules, is_local=is_local))
    if value is not None:
        # An extension lives on in the result only where the bare address matched;
        # asking for the complete one again costs a lookup in a rare case.
        kept = extension if tables.rules.propagate_virtual else ""
        if extension and tables.virtual([address]) is not None:
            kept = ""
        return [_virtual_target(t, local_part, kept, tables.rules) for t in _items(value)]
    if is_local:
        value = tables.local([local_part, base] if extension else [local_part])
        if value is not None:
            return _local_targets(address, value, tables.rules)
    return [address]


def _virtual_target(target: str, local_part: str, extension: str, rules: Rules) -> str:
    if target.startswith("@"):
        # virtual(5): the result becomes the same user in other.domain.
        return f"{local_part}{target}"
    found_local, _, found_domain = with_domain(target, rules).rpartition("@")
    return f"{found_local}{extension}@{found_domain}"


def _local_targets(address: str, value: str, rules: Rules) -> list[str]:
    targets = _items(value)
    others = [t for t in targets if not t or t.startswith(("|", "/", ":"))]
    if not others:
        return [with_domain(t.removeprefix("\\"), rules) for t in targets]
    # Where commands and files are all there is, the alias itself is the mailbox, and its
    # certificate or its policy decides. With mailboxes beside them, or in an include list,
    # local(8) would hand out the alias' mail to people that nobody looked up (aliases(5)).
    if others != targets or any(t.startswith(":") for t in targets):
        raise Unresolvable("alias of local(8) with members that cannot be told")
    return [address]


def _items(value: str) -> list[str]:
    return [item.strip().strip('"').strip("<>") for item in _ITEM.findall(value) if item.strip()]


def _final(address: str, rules: Rules) -> FinalRecipient:
    local_part, _, domain = address.rpartition("@")
    base, _ = split_extension(local_part, rules.delimiters)
    try:
        return FinalRecipient(address, Mailbox.parse(f"{base}@{domain}"))
    except InvalidMailbox as error:
        raise MailboxMalformed(str(error)) from None
