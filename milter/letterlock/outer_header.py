"""The header section that stays readable: edits over the original one.

A field is left as it is, deleted, or given a value of printable ASCII.
"""

import re
from dataclasses import dataclass, replace
from typing import NamedTuple

from keyservice.client import HeaderPolicy, MailboxPolicy
from letterlock import pgpmime
from letterlock.header_policy import (
    CONCERNED,
    Policy,
    hcp_all,
    hcp_baseline_but_subject,
    must_go,
    policy_function,
)
from letterlock.header_protection import Recorded, is_structural
from letterlock.message import CRLF, HeaderField, HeaderSection
from letterlock.own_fields import Delivery, minimal_fields, printable_field


class Change(NamedTuple):
    """One call of libmilter's chgheader."""

    name: str
    occurrence: int
    """Among the fields of this name, compared without case; from 1."""

    value: str | None
    """With its leading blank, folds as LF; None deletes the field."""


@dataclass(frozen=True, slots=True)
class OuterHeader:
    """What becomes of each field of `section`, and the fields that are new."""

    section: HeaderSection
    outside: tuple[HeaderField | None, ...]
    """For each field: itself, its replacement, or None to delete it."""

    added: tuple[HeaderField, ...] = ()
    top: tuple[HeaderField, ...] = ()
    """New ones that go before all others."""

    @property
    def fields(self) -> tuple[HeaderField, ...]:
        """What it becomes, in order."""
        kept = [field for field in self.outside if field is not None]
        return (*self.top, *kept, *self.added)

    @property
    def octets(self) -> bytes:
        """The outer header section, without the blank line."""
        return b"".join(map(_with_crlf, self.fields))

    def over(self, received: HeaderSection, kept: tuple[HeaderField | None, ...]) -> "OuterHeader":
        """Return the same as edits of `received`.

        `section` must be made of it: of what is `kept` of each field, and of new ones behind.
        """
        fates = iter(self.outside)
        outside = tuple(None if field is None else next(fates) for field in kept)
        added = tuple(field for field in fates if field is not None)
        return replace(self, section=received, outside=outside, added=added + self.added)

    def changes(self) -> list[Change]:
        """Return the edits in an order in which none moves the target of a later one."""
        seen: dict[bytes, int] = {}
        changes = []
        fields = zip(self.section.fields, self.section.keys, self.outside, strict=True)
        for was, key, now in fields:
            seen[key] = seen.get(key, 0) + 1
            if now is not was:
                value = None if now is None else _milter_value(now)
                # Postfix looks without case, and writes the name it is given.
                name = (now or was).name.decode("ascii")
                changes.append(Change(name, seen[key], value))
        return changes[::-1]

    def additions(self) -> list[tuple[str, str]]:
        """Return name and value of each new field at the end, for libmilter's addheader."""
        return [_milter_field(field) for field in self.added]

    def insertions(self) -> list[tuple[str, str]]:
        """Return those at the top, in the order in which each is put before all others."""
        return [_milter_field(field) for field in self.top[::-1]]


def as_arrived(section: HeaderSection, recorded: Recorded) -> OuterHeader:
    """Return the header of a message that stays readable, with what we know about it."""
    fields = enumerate(section.fields)
    outside = tuple(None if at in recorded.forged else field for at, field in fields)
    top = () if recorded.field is None else (recorded.field,)
    return OuterHeader(section, outside, top=top)


def wrapped_outer_header(
    section: HeaderSection,
    policy: MailboxPolicy,
    delivery: Delivery,
    boundary: bytes,
    forged: frozenset[int] = frozenset(),
) -> OuterHeader:
    """Return the outer header of a copy whose body is `pgpmime`'s. Raises UnprintableField."""
    edits = _Edits(section, policy, policy_function(policy.header_policy), forged, delivery)
    edits.replace_structural(
        HeaderField(b"MIME-Version", b" 1.0"),
        HeaderField(b"Content-Type", pgpmime.content_type(boundary)),
    )
    return edits.finish()


def arrived_encrypted_outer_header(
    section: HeaderSection,
    policy: MailboxPolicy,
    delivery: Delivery,
    encrypted: HeaderField,
    forged: frozenset[int] = frozenset(),
) -> OuterHeader:
    """Return the outer header of a copy whose body stays as it is. Raises UnprintableField.

    `encrypted` is `encrypted_header_field` of what arrived. Structural fields describe the
    body and stay; `hcp_baseline` leaves the Subject.
    """
    if policy.header_policy is HeaderPolicy.HCP_BASELINE:
        function: Policy = hcp_baseline_but_subject
    else:
        function = policy_function(policy.header_policy)
    edits = _Edits(section, policy, function, forged, delivery)
    edits.added.append(encrypted)
    return edits.finish()


class _Edits:
    def __init__(
        self,
        section: HeaderSection,
        policy: MailboxPolicy,
        function: Policy,
        forged: frozenset[int],
        delivery: Delivery,
    ) -> None:
        self._section = section
        self._policy = policy
        self._delivery = delivery
        self._leaves = delivery.marker is None
        self._kept = frozenset(name.lower().encode() for name in policy.keep_outside)
        concerns_all = function is hcp_all
        self.outside = [
            # Most fields of most messages stay as they are.
            field
            if not (concerns_all or key in CONCERNED or self._must_go(key))
            else self._outside(field, key, function)
            for field, key in zip(section.fields, section.keys, strict=True)
        ]
        for at in forged:
            self.outside[at] = None
        self.added: list[HeaderField] = []

    def _must_go(self, key: bytes) -> bool:
        return must_go(key, leaves=self._leaves)

    def _outside(self, field: HeaderField, key: bytes, function: Policy) -> HeaderField | None:
        if self._must_go(key):
            return None
        if key in self._kept or is_structural(key):
            return field
        value = field.unfolded
        shown = function(key, value)
        if shown is None or shown == value:
            return field if shown is not None else None
        return printable_field(field.name, shown)

    def replace_structural(self, *ours: HeaderField) -> None:
        """Describe the new body: `ours` in the place of the first of their names."""
        missing = {field.key: field for field in ours}
        for at, (field, key) in enumerate(
            zip(self._section.fields, self._section.keys, strict=True)
        ):
            if is_structural(key):
                wanted = missing.pop(key, None)
                # Each edit costs Postfix a walk through the queue file: a MIME-Version that
                # says what ours would say stays.
                self.outside[at] = field if field == wanted else wanted
        self.added += missing.values()

    def finish(self) -> OuterHeader:
        delivery = self._delivery
        if self._policy.header_policy is HeaderPolicy.HCP_ALL:
            shown = {field.key for field in self.outside if field is not None}
            self.added += [
                f for f in minimal_fields(self._policy.mailer, delivery) if f.key not in shown
            ]
        if delivery.marker is not None:
            self.added.append(delivery.marker.field)
        return OuterHeader(self._section, tuple(self.outside), tuple(self.added))


def _with_crlf(field: HeaderField) -> bytes:
    """Return the field as SMTP carries it, wherever the section came from."""
    if field.line_end == CRLF:
        return field.octets
    return field.name + b":" + re.sub(rb"\r?\n", CRLF, field.value) + CRLF


def _milter_field(field: HeaderField) -> tuple[str, str]:
    return field.name.decode("ascii"), _milter_value(field)


def _milter_value(field: HeaderField) -> str:
    return field.value.replace(CRLF, b"\n").decode("ascii")
