"""The settings that a mailbox has of its own, over those of its domain."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping

from keyservice import ledger, policy, store
from keyservice.answers import Answers
from keyservice.database import Database
from keyservice.mailbox import Mailbox
from keyservice.operator_wire import PolicyView
from keyservice.schema import EventKind
from keyservice.sender_wire import SENDER_HELD_MAX, SenderPolicy

log = logging.getLogger(__name__)


class MailboxSettings:
    """Any thread may call it."""

    def __init__(
        self, database: Database, answers: Answers, clock: Callable[[], float] = time.time
    ) -> None:
        """Tell `answers` about each change."""
        self._database = database
        self._answers = answers
        self._clock = clock

    def show(self, mailbox: Mailbox, effective_within: int = 0) -> PolicyView:
        """Return the policy of `mailbox` and where it comes from. Raises OutsideDomain."""
        domain = self._answers.require_ours(mailbox)
        with self._database.reading() as connection:
            stored = store.find(connection, mailbox)
        in_force, sources = policy.resolve(domain.settings, stored.settings if stored else {})
        return PolicyView(
            mailbox=mailbox.key,
            policy=in_force.mailbox,
            sender_policy=in_force.sender,
            sources=sources,
            effective_within=effective_within,
        )

    def set(self, mailbox: Mailbox, settings: Mapping[str, object]) -> PolicyView:
        """Override the domain's settings. Raises BadSetting, OutsideDomain."""
        self._answers.require_ours(mailbox)
        policy.parse(settings)
        now = int(self._clock())
        with self._database.writing() as connection:
            for name, value in settings.items():
                ledger.set_setting(connection, mailbox, name, value, now)
                ledger.note(connection, mailbox, EventKind.POLICY_SET, now, detail=name)
        log.info("policy_set", extra={"mailbox": mailbox.key, "settings": sorted(settings)})
        return self.show(mailbox, self._changed(mailbox, settings))

    def unset(self, mailbox: Mailbox, name: str) -> PolicyView:
        """Let the domain decide `name` again. Raises BadSetting, OutsideDomain."""
        self._answers.require_ours(mailbox)
        policy.require_settings(name)
        now = int(self._clock())
        with self._database.writing() as connection:
            ledger.unset_setting(connection, mailbox, name)
            ledger.note(connection, mailbox, EventKind.POLICY_UNSET, now, detail=name)
        log.info("policy_unset", extra={"mailbox": mailbox.key, "settings": [name]})
        return self.show(mailbox, self._changed(mailbox, [name]))

    def _changed(self, mailbox: Mailbox, names: Iterable[str]) -> int:
        is_about_sending = not set(names).isdisjoint(SenderPolicy.__struct_fields__)
        return max(self._answers.changed(mailbox), SENDER_HELD_MAX if is_about_sending else 0)
