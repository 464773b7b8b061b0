"""The fake key service as the submission role asks it: about senders and about peers."""

import time
from pathlib import Path

import msgspec

from fake_keyservice import FakeKeyService, MemoryOwner
from keyservice.client import Answer, Outcome, PeerAnswer, PeerOutcome, Sender
from keyservice.levels import Level, Source

OURS = "example.test"
CA = "Client CA of example.test"


class SubmissionKeyService(FakeKeyService):
    """Every mailbox of `OURS` may send, and has a client certificate; all others are peers."""

    def __init__(self, path: Path, *owners: MemoryOwner) -> None:
        """Whoever of `owners` is not of `OURS` is a peer whose certificate is known."""
        super().__init__(path, *owners)
        self.refusing = ""
        """The owner whose client certificate was revoked."""

    def reply(self, what: str, key: str) -> bytes:
        """See `FakeKeyService.reply`."""
        is_ours = key.endswith(f"@{OURS}")
        if what == "senders":
            issuers = () if key == self.refusing else (CA,)
            return msgspec.json.encode(Sender(mailbox=key, is_ours=is_ours, issuers=issuers))
        if what == "peers":
            return msgspec.json.encode(self._peer(key))
        if is_ours:
            return self.say(key)
        now = int(time.time())
        outside = Answer(key, Outcome.OUTSIDE, issued_at=now, expires_at=now + 60)
        return msgspec.json.encode(outside)

    def _peer(self, key: str) -> PeerAnswer:
        owner = self.owners.get(key)
        if owner is None:
            return PeerAnswer(mailbox=key, outcome=PeerOutcome.NOT_FOUND)
        known = owner.answer()
        return PeerAnswer(
            mailbox=key,
            outcome=PeerOutcome.FOUND,
            fingerprint=known.fingerprint,
            subkeys=known.subkeys,
            level=Level.PROVIDER_TRUST,
            source=Source.AUTOCRYPT,
            is_used=True,
            issued_at=known.issued_at,
            expires_at=known.expires_at,
        )
