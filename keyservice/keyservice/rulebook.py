"""Which rules decide about which mailbox. Pure."""

from collections.abc import Collection

import msgspec

from keyservice.levels import Level
from keyservice.mailbox import Mailbox
from keyservice.replacement import DAY, Mode, Rules


class Rulebook(msgspec.Struct, frozen=True):
    """What the operator decided.

    `mode` and `first_contact` are about mailboxes of others. For ours only the owner's and the
    operator's word counts, and a replacement that is not certified waits whatever the mode.
    """

    domains: Collection[str]
    """Ours."""

    mode: Mode = Mode.HOLD
    first_contact: Level = Level.PROVIDER_TRUST
    hold_down: int = 7 * DAY

    def is_ours(self, mailbox: Mailbox) -> bool:
        """Whether its domain is in the configuration."""
        return mailbox.domain in self.domains

    def of(self, mailbox: Mailbox) -> Rules:
        """Return the rules for `mailbox`."""
        if self.is_ours(mailbox):
            return Rules(Mode.HOLD, hold_down=self.hold_down, is_ours=True)
        return Rules(self.mode, self.first_contact, self.hold_down)
