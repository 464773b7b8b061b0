"""What is known of one mail transaction while it runs. Holds no plaintext of the body."""

from dataclasses import dataclass, field

from keyservice.client import Answer, Mailbox, PeerAnswer
from letterlock.attached import Attached
from letterlock.authentication import Findings, Inquiry
from letterlock.ciphertext import Ciphertext
from letterlock.classify import Classifier
from letterlock.envelope import Envelope, ForwardPath
from letterlock.header_protection import NOTHING_RECORDED, Form, Recorded
from letterlock.markers import Identity
from letterlock.message import HeaderSection
from letterlock.openpgp import RecipientSubkey, SEIPDVersion
from letterlock.openpgp.scratch import Scratch
from letterlock.smtp_client import SMTPClient
from letterlock.submitted import Submitted


@dataclass(slots=True)
class Recipient:
    """A final mailbox of this transaction: it gets one copy, whatever led to it."""

    mailbox: Mailbox
    answer: Answer
    subkeys: tuple[RecipientSubkey, ...]
    """Those that can be encrypted to now; empty unless the answer is `found`."""

    addresses: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Final addresses, extensions included, with the RCPT parameters to carry on."""

    peer: PeerAnswer | None = None
    """What is known about a mailbox outside that a submission is for."""

    @property
    def fingerprint(self) -> str | None:
        """Of the certificate that it is, or would be, encrypted to."""
        return self.answer.fingerprint if self.peer is None else self.peer.fingerprint

    @property
    def seipd(self) -> SEIPDVersion:
        """How its ciphertext is written.

        Every client reads SEIPD version 1; only version 6 certificates promise 2
        (RFC 9580 §10.3.2.1, §13.7).
        """
        versions = {subkey.seipd for subkey in self.subkeys}
        return SEIPDVersion.V2 if versions == {SEIPDVersion.V2} else SEIPDVersion.V1

    @property
    def form(self) -> Form:
        """The form of its Cryptographic Payload."""
        return Form.of(self.answer.policy.header_policy)


@dataclass(slots=True)
class Transaction:
    """From MAIL to the end of the message."""

    envelope: Envelope
    client: SMTPClient = field(default_factory=SMTPClient)
    recipients: dict[str, Recipient] = field(default_factory=dict)
    """By `Mailbox.key`, in the order in which the peer named them."""

    finals: dict[ForwardPath, tuple[str, ...]] = field(default_factory=dict)
    """Which mailboxes (keys) each forward-path leads to."""

    section: HeaderSection = field(default_factory=lambda: HeaderSection(()))
    """Of a submission: as it leaves."""

    submitted: Submitted | None = None
    inquiry: Inquiry | None = None
    findings: Findings | None = None
    recorded: Recorded = NOTHING_RECORDED
    attached: Attached | None = None
    held: Scratch | None = None
    """The body, where what is written before it depends on it."""

    classifier: Classifier | None = None
    ciphertexts: dict[tuple[Form, SEIPDVersion], Ciphertext] = field(default_factory=dict)
    identity: Identity | None = None
    arrived: Scratch | None = None
    """The body as it arrived, where a copy may need it again."""

    octets: int = 0

    def discard(self) -> None:
        """Give back memory and disk."""
        for ciphertext in self.ciphertexts.values():
            ciphertext.discard()
        for scratch in (self.arrived, self.held):
            if scratch is not None:
                scratch.discard()
