"""What the child is asked about a certificate that strangers showed. Pure."""

import msgspec

from keyservice.mailbox import Mailbox
from keyservice.transition import Predecessor


class Question(msgspec.Struct, frozen=True):
    """A certificate as it was shown, and what there is to hold it against."""

    shown: bytes
    """Prescanned, with foreign signatures; user IDs of `mailbox` only."""

    mailbox: Mailbox
    stored: bytes = b""
    """What is stored of the same certificate; empty: nothing."""

    registered: Predecessor | None = None
    """The certificate that `mailbox` has, if it is another one."""
