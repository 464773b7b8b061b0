"""The policy of a mailbox: its own settings over its domain's over the defaults. Pure.

One namespace of settings, two records: what happens to mail for the mailbox, and to mail from it.
"""

import re
from collections.abc import Mapping
from enum import Enum
from typing import Any, NamedTuple, TypeVar, get_origin

import msgspec

from keyservice.errors import BadSetting
from keyservice.levels import Level
from keyservice.mailbox import InvalidMailbox, Mailbox
from keyservice.operator_wire import PolicySource
from keyservice.sender_wire import SenderPolicy
from keyservice.wire import MailboxPolicy

SETTINGS = (*MailboxPolicy.__struct_fields__, *SenderPolicy.__struct_fields__)

_Record = TypeVar("_Record", bound=msgspec.Struct)

_FIELD_NAME = re.compile(r"[\x21-\x39\x3b-\x7e]{1,77}")
"""RFC 5322 §3.6.8, short enough for one line (§2.1.1)."""

_NEVER_OUTSIDE = re.compile(
    # Structural fields describe the encrypted body once it is wrapped; signatures over the
    # old one would fail; the rest is what only this milter or the sender's client may say.
    r"content-.*|mime-version|dkim-signature|domainkey-signature|arc-.*|x-google-dkim-signature"
    r"|autocrypt.*|hp-outer|letterlock.*|bcc|resent-bcc|return-path",
    re.IGNORECASE,
)


class Policy(NamedTuple):
    """Both records."""

    mailbox: MailboxPolicy
    sender: SenderPolicy


def resolve(
    domain: Mapping[str, object], mailbox: Mapping[str, object]
) -> tuple[Policy, dict[str, PolicySource]]:
    """Return the policy in force and who decided each setting of it.

    Raises BadSetting.
    """
    sources = dict.fromkeys(SETTINGS, PolicySource.DEFAULT)
    sources |= dict.fromkeys(domain, PolicySource.DOMAIN)
    sources |= dict.fromkeys(mailbox, PolicySource.MAILBOX)
    return parse({**domain, **mailbox}), sources


def parse(settings: Mapping[str, object]) -> Policy:
    """Return `settings` as a policy, the defaults for the rest. Raises BadSetting."""
    require_settings(*settings)
    policy = _record(settings, MailboxPolicy)
    for name in policy.keep_outside:
        _require_field_name(name)
    if policy.mailer:
        _require_addr_spec(policy.mailer)
    return Policy(policy, _record(settings, SenderPolicy))


def require_settings(*names: str) -> None:
    """Raise BadSetting if one of `names` is no setting."""
    if not set(names) <= set(SETTINGS):
        raise BadSetting("there is no such setting")


def _record(settings: Mapping[str, object], kind: type[_Record]) -> _Record:
    own = {name: settings[name] for name in kind.__struct_fields__ if name in settings}
    try:
        return msgspec.convert(own, kind)
    except msgspec.ValidationError:
        raise BadSetting(_what_is_wrong(own, kind)) from None


def _what_is_wrong(settings: Mapping[str, object], kind: type[msgspec.Struct]) -> str:
    for field in msgspec.structs.fields(kind):
        try:
            msgspec.convert(settings.get(field.name, field.default), field.type)
        except msgspec.ValidationError:
            return f"{field.name}: expected {_expected(field.type)}"
    return "not a policy"


def _expected(kind: Any) -> str:
    if get_origin(kind) is tuple:
        return "a list of texts"
    if kind is Level:
        return f"a level, {min(Level):d} to {max(Level):d}"
    if issubclass(kind, Enum):
        return " or ".join(str(member.value) for member in kind)
    return "true or false" if kind is bool else "a text"


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
