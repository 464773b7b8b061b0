"""The policy of a mailbox: its own settings over its domain's over the defaults. Pure."""

import re
from collections.abc import Mapping

import msgspec

from keyservice.errors import BadSetting
from keyservice.mailbox import InvalidMailbox, Mailbox
from keyservice.operator_wire import PolicySource
from keyservice.wire import MailboxPolicy

SETTINGS = MailboxPolicy.__struct_fields__

_FIELD_NAME = re.compile(r"[\x21-\x39\x3b-\x7e]{1,77}")
"""RFC 5322 §3.6.8, short enough for one line (§2.1.1)."""

_NEVER_OUTSIDE = re.compile(
    # Structural fields describe the encrypted body once it is wrapped; signatures over the
    # old one would fail; the rest is what only this milter or the sender's client may say.
    r"content-.*|mime-version|dkim-signature|domainkey-signature|arc-.*|x-google-dkim-signature"
    r"|autocrypt.*|hp-outer|letterlock.*|bcc|resent-bcc|return-path",
    re.IGNORECASE,
)


def resolve(
    domain: Mapping[str, object], mailbox: Mapping[str, object]
) -> tuple[MailboxPolicy, dict[str, PolicySource]]:
    """Return the policy in force and who decided each setting of it.

    Raises BadSetting.
    """
    sources = dict.fromkeys(SETTINGS, PolicySource.DEFAULT)
    sources |= dict.fromkeys(domain, PolicySource.DOMAIN)
    sources |= dict.fromkeys(mailbox, PolicySource.MAILBOX)
    return parse({**domain, **mailbox}), sources


def parse(settings: Mapping[str, object]) -> MailboxPolicy:
    """Return `settings` as a policy, the defaults for the rest. Raises BadSetting."""
    try:
        policy = msgspec.convert(dict(settings), MailboxPolicy)
    except msgspec.ValidationError as error:
        raise BadSetting(str(error)) from None
    for name in policy.keep_outside:
        _require_field_name(name)
    if policy.mailer:
        _require_addr_spec(policy.mailer)
    return policy


def _require_field_name(name: str) -> None:
    if not _FIELD_NAME.fullmatch(name):
        raise BadSetting("keep_outside: not a header field name")
    if _NEVER_OUTSIDE.fullmatch(name):
        raise BadSetting(f"keep_outside: {name} cannot stay outside")


def _require_addr_spec(text: str) -> None:
    try:
        mailbox = Mailbox.parse(text)
    except InvalidMailbox as error:
        raise BadSetting(f"mailer: {error}") from None
    # It is written into a header field as it is, where only ASCII may stand (RFC 5322 §3.4.1).
    if not str(mailbox).isascii():
        raise BadSetting("mailer: must be ASCII")
