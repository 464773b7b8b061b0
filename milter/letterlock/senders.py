"""Who may send as whom. Pure: tables and key service are asked through what is passed in.

Whoever is authenticated answers for every address that the message names as its origin
(`origins`). One of these is allowed, in this order:

1. never, if its domain is not ours;
2. if smtpd_sender_login_maps has an entry for it: where that names the one who is
   authenticated, and not otherwise;
3. if it is his own mailbox, with or without an extension;
4. if it is an alias, and his the only mailbox behind it.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from keyservice.client import Mailbox, Sender
from letterlock.aliases import FinalRecipient, Rules, Unresolvable, split_extension, with_domain
from letterlock.errors import MailboxMalformed, PermanentError
from letterlock.message import HeaderSection
from letterlock.origins import NotAllowed, Origin, mailbox, origins
from letterlock.reply import SMTPReply
from letterlock.smtp_client import SMTPClient


class NotAuthenticated(PermanentError):
    """Postfix has handed in mail of somebody whom it does not know."""

    reply = SMTPReply(530, "5.7.0", "Authentication required")
    """RFC 4954 §6."""

    reason = "not_authenticated"


class SenderTables(Protocol):
    """Postfix's tables, as `postfix_tables.Resolver` asks them. Both raise TablesUnavailable."""

    rules: Rules

    def resolve(self, forward_path: str) -> tuple[FinalRecipient, ...]:
        """Return what `aliases.final_recipients` says."""

    def login_owners(self, address: str) -> tuple[str, ...] | None:
        """Return who may send as `address`; None if smtpd_sender_login_maps does not say."""


AskSender = Callable[[Mailbox], Sender]
"""Asks the key service about a mailbox. Raises TemporaryError where it does not answer."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What Postfix has authenticated: a login, a client certificate, or both."""

    login: str = ""
    certificate_subject: str = ""
    certificate_issuer: str = ""


@dataclass(frozen=True, slots=True)
class Author:
    """In whose name the message is: the one mailbox in From; Sender's, where From has several."""

    address: Mailbox
    """As the field has it."""

    mailbox: Mailbox
    """Whose policy and certificate count: where mail to `address` goes, if that is one mailbox
    of ours; else `address` without its extension."""

    is_alone: bool
    """Whether From has one mailbox: else no Autocrypt field counts (Level 1)."""

    is_owner: bool
    """Whether `mailbox` is that of the one who is authenticated, and not of somebody who lets
    him send: only the owner's own program may speak of its certificate."""


def identity(client: SMTPClient) -> Identity | None:
    """Return who is at the other end; None if Postfix has not authenticated anybody."""
    shown = client.login, client.certificate_subject, client.certificate_issuer
    return Identity(*shown) if any(shown) else None


def require_own(
    identity: Identity | None,
    reverse_path: str,
    section: HeaderSection,
    tables: SenderTables,
    ask: AskSender,
) -> Author:
    """Return the author, having seen that every address of origin is allowed.

    Raises NotAuthenticated, NotAllowed; TablesUnavailable, and what `ask` raises.
    """
    if identity is None:
        raise NotAuthenticated("neither login nor client certificate")
    credentials = list(_credentials(identity, tables.rules, ask))
    named = origins(reverse_path, section, tables.rules)
    _require_served(named, tables.rules, ask)
    for where, address in named:
        for credential in credentials:
            if not _is_allowed(address, credential, tables):
                raise NotAllowed(f"{where} is not an address of the {credential.title}")
    where, address = named[0]
    behind = _mailbox_behind(address, tables, ask)
    is_owner = all(c.mailbox is not None and c.mailbox.key == behind.key for c in credentials)
    return Author(address, behind, is_alone=where == "From", is_owner=is_owner)


class _Credential(NamedTuple):
    title: str
    mailbox: Mailbox | None
    names: frozenset[str]
    """Under which smtpd_sender_login_maps may know its owner."""


def _credentials(identity: Identity, rules: Rules, ask: AskSender) -> Iterator[_Credential]:
    """Yield all that was shown; an address has to be allowed for each.

    Where a login and a certificate disagree, one of them is borrowed: what both allow is
    what a thief of one could not have had alone.
    """
    if identity.certificate_subject or identity.certificate_issuer:
        own = mailbox(identity.certificate_subject)
        if own is None or identity.certificate_issuer not in ask(own).issuers:
            raise NotAllowed("Client certificate is not in force")
        names = {own.key, own.key.removesuffix(f"@{rules.origin.lower()}")}
        yield _Credential("client certificate's owner", own, frozenset(names))
    if identity.login:
        own = mailbox(with_domain(identity.login, rules))
        # Compared as smtpd(8) does: `alice` there is not `alice@example.org` here.
        yield _Credential("login's owner", own, frozenset({_lowered(identity.login)}))


def _require_served(named: Iterable[Origin], rules: Rules, ask: AskSender) -> None:
    served = set()
    for where, address in named:
        if address.domain not in served and not ask(_without_extension(address, rules)).is_ours:
            raise NotAllowed(f"{where} is not an address of this provider")
        served.add(address.domain)


def _is_allowed(address: Mailbox, credential: _Credential, tables: SenderTables) -> bool:
    owners = tables.login_owners(str(address))
    if owners is not None:
        return any(_lowered(owner) in credential.names for owner in owners)
    own = credential.mailbox
    return own is not None and (address.key == own.key or _leads_to(own, address, tables))


def _leads_to(own: Mailbox, address: Mailbox, tables: SenderTables) -> bool:
    behind = _behind(address, tables)
    if behind == {own.key}:
        return True
    # His own mailbox, with an extension, may be forwarded. But what looks like an extension
    # need not be one: john.smith beside john, where the dot is a delimiter, leads elsewhere.
    base = _without_extension(address, tables.rules)
    return base.key == own.key and bool(behind) and behind == _behind(base, tables)


def _mailbox_behind(address: Mailbox, tables: SenderTables, ask: AskSender) -> Mailbox:
    finals = _finals(address, tables)
    if len(finals) == 1:
        only = finals[0].mailbox
        if only.domain == address.domain or ask(only).is_ours:
            return only
    return _without_extension(address, tables.rules)


def _behind(address: Mailbox, tables: SenderTables) -> set[str]:
    return {final.mailbox.key for final in _finals(address, tables)}


def _finals(address: Mailbox, tables: SenderTables) -> tuple[FinalRecipient, ...]:
    try:
        return tables.resolve(str(address))
    except (Unresolvable, MailboxMalformed):
        return ()


def _without_extension(address: Mailbox, rules: Rules) -> Mailbox:
    base, _ = split_extension(address.local_part, rules.delimiters)
    return Mailbox(base, address.domain)


def _lowered(name: str) -> str:
    # Beyond ASCII different letters have one lower case: that of the Kelvin sign is k.
    return name.lower() if name.isascii() else name
