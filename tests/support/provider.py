"""A provider whose users hand in mail; whoever it is for outside is a sink that keeps it."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from click.testing import CliRunner

from autocrypt_mail import field
from delivered import Delivered, watch
from dkim_mail import records_of
from keyservice.client import PeerClient, Report, VerifiedSignature
from keyservice.mailbox import Mailbox
from letterlock.cli import main
from letterlock.dkim.domain_keys import DomainKeys
from letterlock.dkim.key_record import PUBLISHED
from letterlock.dkim.keys import KeyDirectory
from smtp_sink import SMTPSink, Taken
from stack import PASSWORD, Stack, daemons

KEY_BITS = 2048


class Provider:
    """A stack with submission, and a sink for mail to `elsewhere`; as long as `resources`.

    Every domain of the stack signs, and `records` are what its DNS would have.
    """

    def __init__(
        self,
        directory: Path,
        resources: ExitStack,
        *,
        domains: dict[str, dict[str, object]],
        elsewhere: Sequence[str] = ("outside.test",),
        **options: object,
    ) -> None:
        """`options` are the stack's."""
        self.sink = resources.enter_context(SMTPSink())
        self.stack = Stack(
            directory,
            domains=domains,
            submission=True,
            relays=dict.fromkeys(elsewhere, self.sink.address),
            **options,  # type: ignore[arg-type]
        )
        self.records: dict[str, str] = {}
        for domain in domains:
            self._make_signers(domain)
        resources.enter_context(self.stack)
        self.service = f"unix:{daemons.keyservice_socket(self.stack.layout)}"

    def hand_in(
        self,
        message: bytes,
        to: Sequence[str] | str,
        sender: str,
        *,
        into: Sequence[str] = (),
        reverse_path: str | None = None,
        **how: object,
    ) -> dict[str, list[Delivered]]:
        """Hand in `message` as `sender`, by login if not told otherwise; return who got what.

        By forward-path outside, and for each of the mailboxes `into` inside. `how` as in
        `Stack.submit`, which says what it raises.
        """
        if not how.keys() & {"login", "certificate"}:
            how["login"] = (sender, PASSWORD)
        before = len(self.sink.messages)
        reverse_path = sender if reverse_path is None else reverse_path
        got = watch(
            self.stack,
            into,
            lambda: self.stack.submit(message, to, reverse_path, **how),  # type: ignore[arg-type]
        )
        for taken in self.sink.messages[before:]:
            for path in taken.forward_paths:
                got.setdefault(path, []).append(Delivered(taken.octets))
        return got

    def everything(self) -> list[str]:
        """Return a name for each message that is anywhere: queue, mailboxes, sink."""
        stored = (path for path in self.stack.layout.mail.rglob("*") if path.is_file())
        kept = [str(path) for path in stored if path.parent.name in ("new", "cur", "tmp")]
        queued = [str(path) for path in self.stack.queue_files()]
        return [*kept, *queued, *(str(taken.commands) for taken in self.sink.messages)]

    def transactions(self, path: str) -> list[Taken]:
        """Return the messages that the sink was given for this forward-path."""
        return [taken for taken in self.sink.messages if path in taken.forward_paths]

    def decide(self, *words: str) -> str:
        """Run `letterlock policy` with these words; return what it prints."""
        command = ["policy", *words, "--service", self.service]
        done = CliRunner().invoke(main, command, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    def learn(self, address: str, certificate: bytes) -> None:
        """Let the provider know a peer, as a signed mail with his Autocrypt field would.

        `certificate` is binary.
        """
        mailbox = Mailbox.parse(address)
        report = Report(
            from_fields=1,
            from_addresses=(address,),
            received_at=int(time.time()),
            date=int(time.time()) - 60,
            signatures=(
                VerifiedSignature(
                    domain=mailbox.domain,
                    signed_fields=("from", "autocrypt", "date"),
                    has_body_length=False,
                ),
            ),
            is_spam=False,
            autocrypt_fields=(field(address, certificate),),
        )
        reported = PeerClient(self.service).report(report)
        assert reported is not None
        assert reported.noted, reported

    def _make_signers(self, domain: str) -> None:
        directory = self.stack.dkim_directory
        keys = DomainKeys(directory, domain)
        now = int(time.time())
        keys.generate(KEY_BITS, now)
        keys.activate(lambda *_: PUBLISHED, now)
        self.records |= records_of(KeyDirectory(directory).signers(domain), domain)
