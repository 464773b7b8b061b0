"""What the doctor does to find out: the effects behind its rules, and what they are for real."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from keyservice.client import ClientConfig, KeyServiceClient, Mailbox, Outcome
from letterlock import daemon_page
from letterlock.daemon_page import Page, PageUnreadable
from letterlock.dkim.keys import KeyDirectory
from letterlock.dns import Deadline, DnsUnavailable, Resolver
from letterlock.doctor import dnssec, milter_greeting, redis_rights
from letterlock.doctor.accounts import as_daemon, as_milter
from letterlock.doctor.host import Host
from letterlock.doctor.keyservice_file import Discovery
from letterlock.doctor.milter_greeting import Greet
from letterlock.doctor.redis_rights import Ask, Client, Rights
from letterlock.doctor.surroundings import Proof
from letterlock.errors import ConfigError, SigningImpossible, TablesUnavailable
from letterlock.postfix_tables import PostfixTables

_SECONDS = 5.0
_KNOWN_NAME = "org"
"""In the DNS, wherever one asks; but for a test, or a network of its own."""


def outcome_of(service: str, domain: str) -> Outcome:
    """Return what the key service says of a domain's postmaster, to the milter's account.

    Raises NotPossible.
    """

    def ask() -> str:
        client = KeyServiceClient(ClientConfig(service=service))
        return client.lookup(Mailbox("postmaster", domain)).outcome.value

    return Outcome(as_milter(ask))


def rights_in_redis(client: Client, url: str) -> Rights:
    """Return what Redis allows `client`, with its account. Raises NotPossible."""

    def ask() -> str:
        return msgspec.json.encode(redis_rights.ask(client, url)).decode()

    return msgspec.json.decode(as_daemon(client.account, ask), type=Rights)


def page_of(address: str) -> Page | None:
    """Return a daemon's page, or None."""
    try:
        return daemon_page.fetch(address, _SECONDS)
    except PageUnreadable:
        return None


def signing_complaint(directory: str, domain: str) -> str:
    """Return why the milter's account cannot sign mail of `domain`; empty: it can.

    Raises NotPossible.
    """

    def load() -> str:
        try:
            KeyDirectory(Path(directory)).signers(domain)
        except SigningImpossible as error:
            return str(error)
        return ""

    return as_milter(load)


def tables_complaint(config_directory: str) -> str:
    """Return why the milter's account cannot ask Postfix' tables; empty: it can.

    Raises NotPossible.
    """

    def ask() -> str:
        try:
            tables = PostfixTables(config_directory)
            tables.virtual(["postmaster@localhost"])
            tables.local(["postmaster"])
            tables.login_owners("postmaster@localhost")
        except TablesUnavailable as error:
            return str(error)
        return ""

    return as_milter(ask)


def dns_complaint(nameserver: str, own_name: str) -> str:
    """Return why `nameserver`, or those of the system if it is empty, gives no answers."""
    complaint = ""
    for name in (own_name, _KNOWN_NAME):
        try:
            Resolver(nameserver).mx(name, Deadline.after(_SECONDS))
        except (DnsUnavailable, ConfigError) as error:
            complaint = str(error)
        else:
            return ""
    return complaint


@dataclass(frozen=True, slots=True)
class Probes:
    """All of them."""

    host: Host
    greet: Greet = milter_greeting.greet
    ask_redis: Ask = rights_in_redis
    lookup: Callable[[str, str], Outcome] = outcome_of
    page: Callable[[str], Page | None] = page_of
    prove: Callable[[Discovery], Proof] = dnssec.prove
    signing_complaint: Callable[[str, str], str] = signing_complaint
    tables_complaint: Callable[[str], str] = tables_complaint
    dns_complaint: Callable[[str, str], str] = dns_complaint
