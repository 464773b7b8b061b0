"""What the doctor does to find out: the effects behind its rules, and what they are for real."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from keyservice.client import ClientConfig, KeyServiceClient, Mailbox, Outcome
from letterlock import daemon_page
from letterlock.daemon_page import Page, PageUnreadable
from letterlock.dkim.keys import KeyDirectory
from letterlock.doctor import dnssec, milter_greeting, redis_rights
from letterlock.doctor.accounts import NotPossible, as_account
from letterlock.doctor.host import Host
from letterlock.doctor.keyservice_file import Discovery
from letterlock.doctor.milter_greeting import Greet
from letterlock.doctor.redis_rights import Ask
from letterlock.doctor.surroundings import Proof
from letterlock.errors import SigningImpossible

MILTER_ACCOUNT = "letterlock"

_PAGE_SECONDS = 5.0


def outcome_of(service: str, domain: str) -> Outcome:
    """Return what the key service at `service` says of a domain's postmaster."""
    client = KeyServiceClient(ClientConfig(service=service))
    return client.lookup(Mailbox("postmaster", domain)).outcome


def page_of(address: str) -> Page | None:
    """Return a daemon's page, or None."""
    try:
        return daemon_page.fetch(address, _PAGE_SECONDS)
    except PageUnreadable:
        return None


def signing_complaint(directory: str, domain: str) -> str:
    """Return why the milter's account cannot sign mail of `domain`; empty: it can."""

    def load() -> str:
        try:
            KeyDirectory(Path(directory)).signers(domain)
        except SigningImpossible as error:
            return str(error)
        return ""

    try:
        return as_account(MILTER_ACCOUNT, load, chroot=False)
    except NotPossible:
        # No such account, or we are that account: what we can read has to do.
        return load()


@dataclass(frozen=True, slots=True)
class Probes:
    """All of them."""

    host: Host
    greet: Greet = milter_greeting.greet
    ask_redis: Ask = redis_rights.ask
    lookup: Callable[[str, str], Outcome] = outcome_of
    page: Callable[[str], Page | None] = page_of
    prove: Callable[[Discovery], Proof] = dnssec.prove
    signing_complaint: Callable[[str, str], str] = signing_complaint
