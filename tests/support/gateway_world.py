"""A gateway with everything outside of it replaced, and what that was told."""

from contextlib import contextmanager

import openpgp_subkeys
from keyservice.client import Answer, EncryptionSubkey, Mailbox, MailboxPolicy, Outcome
from letterlock.aliases import FinalRecipient
from letterlock.authentication import Authenticator
from letterlock.ciphertext import Spill
from letterlock.config import AuthenticationSection
from letterlock.envelope import Envelope, ForwardPath
from letterlock.errors import ReentryFailed
from letterlock.gateway import Effects, Gateway
from letterlock.inbound import Inbound, Vouching
from letterlock.message import HeaderField, HeaderSection
from letterlock.smtp_client import SMTPClient
from letterlock.transaction import Transaction

NOW = 1_795_000_000
FINGERPRINT = "ab" * 20
PACKET = openpgp_subkeys.bodies()["cv25519"]
ALICE, BOB, NEWCOMER = (Mailbox(name, "example.test") for name in ("alice", "bob", "newcomer"))


def found(mailbox: Mailbox, not_after: int | None = None, **policy) -> Answer:
    subkey = EncryptionSubkey(FINGERPRINT, PACKET, not_after)
    return Answer(
        mailbox=mailbox.key,
        outcome=Outcome.FOUND,
        policy=MailboxPolicy(**policy),
        fingerprint=FINGERPRINT,
        subkeys=(subkey,),
    )


class World:
    """Everything outside of the gateway, with what it was told."""

    def __init__(self, spill: Spill) -> None:
        self.answers = {
            ALICE.key: found(ALICE),
            BOB.key: found(BOB),
            NEWCOMER.key: Answer(mailbox=NEWCOMER.key, outcome=Outcome.NOT_FOUND),
        }
        self.client = SMTPClient()
        self.reverse_path = "sender@outside.test"
        self.aliases = {"team@example.test": [ALICE, BOB], "mixed@example.test": [ALICE, NEWCOMER]}
        self.sent = []
        self.transactions = []
        self.store = {}
        self.now = NOW
        self.fails_at = None
        effects = Effects(
            resolve=self.resolve,
            lookup=lambda mailbox: self.answers[mailbox.key],
            reentry=self,
            markers=self,
            clock=lambda: self.now,
            random=lambda octets: bytes(octets),
        )
        self.gateway = self.made(effects, spill)

    def made(self, effects: Effects, spill: Spill) -> Gateway:
        """Return the role to test."""
        settings = AuthenticationSection(enabled=False)
        vouching = Vouching(Authenticator("mx.example.test", settings, None, effects.clock))
        return Inbound(effects, "mx.example.test", bytes(32), spill, vouching)

    def resolve(self, forward_path):
        finals = self.aliases.get(forward_path, [Mailbox.parse(forward_path)])
        return tuple(FinalRecipient(str(m), m) for m in finals)

    @contextmanager
    def connect(self):
        yield self

    def send(self, copy):
        if self.fails_at == len(self.sent):
            raise ReentryFailed("refused")
        self.sent.append((copy.recipients, b"".join(copy.octets)))
        return f"4COPY{len(self.sent)}"

    def get(self, name):
        return self.store.get(name)

    def set(self, name, value, seconds):
        self.store[name] = value

    def delete(self, names):
        for name in names:
            self.store.pop(name, None)

    def begin(self, *forward_paths: str, fields=((b"Subject", b" hi"),)) -> Transaction:
        transaction = Transaction(Envelope(self.reverse_path), self.client)
        self.transactions.append(transaction)
        for address in forward_paths:
            self.gateway.recipient(transaction, ForwardPath(f"<{address}>", address))
        section = HeaderSection(tuple(HeaderField(name, value) for name, value in fields))
        self.gateway.end_of_header(transaction, section)
        return transaction

    def run(self, *forward_paths: str, body=b"text\r\n", **options):
        transaction = self.begin(*forward_paths, **options)
        self.gateway.body(transaction, body)
        verdict = self.gateway.end_of_message(transaction)
        return transaction, verdict
