"""Two providers that write to each other, and what can be seen of it between them."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from email import message_from_bytes
from pathlib import Path
from typing import Self

from demo.evidence import Copy, Delivery, collect, encrypted_parts, opened
from demo.letters import NEIGHBOUR, to_alice, to_dora
from demo.mails import HOME, Mail
from dkim_mail import records_of
from dns_peer import DnsPeer, txt
from keyservice.mailbox import Mailbox
from keyservice.operator_wire import Explanation
from letterlock.dkim.domain_keys import DomainKeys
from letterlock.dkim.key_record import PUBLISHED
from letterlock.dkim.keys import KeyDirectory
from mail_route import MailRoute
from stack import NotReady, Owner, Stack, wait_until

_LEARNING_SECONDS = 10.0
_RSA_BITS = 2048


@dataclass(frozen=True, slots=True)
class Correspondence:
    """A mail to the neighbour and the reply to it."""

    first: Delivery
    reply: Delivery
    """The octets of both are those that went from provider to provider."""

    before: Explanation
    """What the neighbour knew of the first one's sender before it came."""

    after: Explanation
    """And afterwards."""

    verdicts: tuple[str, str]
    """What each provider recorded inside about who vouches for the mail."""


class Neighbours:
    """Two stacks, a DNS that both ask, and a way for mail in each direction.

    A context manager: of all of it but the stacks, which whoever starts them stops.
    """

    def __init__(self, directory: Path, stack_in: Callable[..., Stack]) -> None:
        """Lay everything out, with keys for DKIM; nothing runs yet. `stack_in` makes `home`."""
        self._dns = DnsPeer({})
        asks = {"nameserver": self._dns.address, "unjudged_is_spam": False}
        self.home = stack_in(directory / "home", submission=True, authentication=asks)
        self.away = Stack(
            directory / "neighbour",
            submission=True,
            authentication=asks,
            domains={NEIGHBOUR: {}},
            hostname=f"mx.{NEIGHBOUR}",
        )
        self._to_home, self._to_away = (
            MailRoute(stack.layout.address("smtp")) for stack in (self.home, self.away)
        )
        self.home.relay({NEIGHBOUR: self._to_away.address})
        self.away.relay({HOME: self._to_home.address})
        self._publish(self.home, HOME)
        self._publish(self.away, NEIGHBOUR)

    def __enter__(self) -> Self:
        self._dns.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._to_home.close()
        self._to_away.close()
        self._dns.__exit__()

    @property
    def stacks(self) -> tuple[Stack, Stack]:
        """Both: ours, and the other one."""
        return self.home, self.away

    def stored(self, address: str) -> int:
        """Return how many mails are stored for `address`."""
        return len((self.home if address.endswith(f"@{HOME}") else self.away).maildir(address))

    def correspond(self, alice: Owner, dora: Owner, owners: Sequence[Owner]) -> Correspondence:
        """Let Alice write to Dora, and Dora reply when her provider has heard of Alice."""
        writer = Mailbox.parse(alice.address)
        before = self.away.operator.explain(writer)
        first = self._exchanged(to_dora(), alice, self._to_away, owners)
        with suppress(NotReady):
            wait_until(
                lambda: bool(self.away.operator.explain(writer).bindings),
                "certificate learned",
                _LEARNING_SECONDS,
            )
        reply = self._exchanged(to_alice(), dora, self._to_home, owners)
        verdicts = _verdict(first, f"mx.{NEIGHBOUR}"), _verdict(reply, f"mx.{HOME}")
        return Correspondence(first, reply, before, self.away.operator.explain(writer), verdicts)

    def _exchanged(
        self, mail: Mail, sender: Owner, way: MailRoute, owners: Sequence[Owner]
    ) -> Delivery:
        here, there = self.home, self.away
        if way is self._to_home:
            here, there = there, here
        certificate = here.client_certificate(sender.address)
        delivery = collect(
            there,
            mail,
            owners,
            lambda: here.submit(mail.octets, mail.to, sender.address, certificate=certificate),
        )
        if not way.messages:
            return delivery
        return replace(delivery, mail=replace(mail, octets=way.messages[-1]))

    def _publish(self, stack: Stack, domain: str) -> None:
        """Make keys for DKIM as `letterlock dkim-key` does, and have the DNS know them."""
        keys, now = DomainKeys(stack.dkim_directory, domain), int(time.time())
        keys.generate(_RSA_BITS, now)
        keys.activate(lambda *_: PUBLISHED, now)
        signers = KeyDirectory(stack.dkim_directory).signers(domain)
        for name, text in records_of(signers, domain).items():
            self._dns.zone[name] = {"TXT": txt(text)}


def _verdict(delivery: Delivery, authserv_id: str) -> str:
    """Return the results (RFC 8601) that the reader's provider has put into her mail."""
    fields = [field for copy in delivery.copies for field in _recorded(copy)]
    own = [field for field in fields if field.startswith(f"{authserv_id};")]
    return " ".join(own[0].split()) if len(own) == 1 else ""


def _recorded(copy: Copy) -> list[str]:
    plaintexts = [opened([octets], copy.owner) for octets in encrypted_parts(copy.stored)]
    payloads = [message_from_bytes(octets) for octets in plaintexts if octets is not None]
    return [f for payload in payloads for f in payload.get_all("Authentication-Results", [])]
