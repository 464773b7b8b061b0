"""What can go wrong, named for what the caller must do (defer or refuse for good).

An error carries the reply that the peer may read. Its text is for the log: it names
the thing that failed, never anything of the message.
"""

from letterlock.reply import BAD_MAILBOX, TRY_LATER, SMTPReply


class LetterlockError(Exception):
    """Never raised itself."""

    reply: SMTPReply = TRY_LATER
    reason = "internal_error"
    """Label for the log and the counters, from a closed set (see `metrics.FAILURES`)."""


class TemporaryError(LetterlockError):
    """Trying again may work: the transaction ends in 4yz."""


class PermanentError(LetterlockError):
    """Trying again will not work: the peer is told so (5yz)."""


class MailboxMalformed(PermanentError):
    """A forward-path that names no mailbox we could serve."""

    reply = BAD_MAILBOX
    reason = "mailbox_malformed"


class NotNegotiated(TemporaryError):
    """The MTA did not grant what exact restoration needs (`callbacks`)."""

    reason = "not_negotiated"


class TablesUnavailable(TemporaryError):
    """Postfix's tables could not be asked, or their answer was not understood."""

    reason = "tables_unavailable"


class SpillFailed(TemporaryError):
    """The disk took no more ciphertext."""

    reason = "spill_failed"


class ReentryFailed(TemporaryError):
    """A copy was not accepted by the re-entry port."""

    reason = "reentry_failed"


class RecipientsLost(TemporaryError):
    """The plan would have left the transaction without any recipient."""

    reason = "recipients_lost"


class PlaintextForbidden(TemporaryError):
    """A message would have left in the clear for a mailbox that must not get plaintext."""

    reason = "plaintext_forbidden"


class SenderUnknown(TemporaryError):
    """The key service could not be asked about the mailbox that sends."""

    reason = "sender_unknown"


class SigningImpossible(TemporaryError):
    """A key is missing or cannot be used; the text names it, and holds nothing of it."""

    reason = "signing_impossible"


class CallbackOrder(TemporaryError):
    """The MTA called in an order that the protocol does not know."""

    reason = "callback_order"


class ConfigError(LetterlockError):
    """The configuration is unusable; the text names the key. Exit status 78 (sysexits.h)."""

    reason = "config"
