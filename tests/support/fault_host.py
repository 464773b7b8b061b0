"""A provider that can be broken between its parts, and what must hold of its mail all the same."""

import itertools
import os
import re
import signal
import smtplib
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import canary
import milter_settings
from autocrypt_mail import five_of
from canary import Canaries
from dkim_verifiers import dkimpy
from fake_keyservice import MemoryOwner
from keyservice_proxy import KeyServiceProxy
from mta import persist
from ports import free_port
from provider import Provider
from reentry_proxy import ReentryProxy
from smtp_sink import Taken
from stack import PASSWORD, Stack, wait_until
from stack.daemons import keyservice_socket
from stack.smtp import Sent

DEADLINE_SECONDS = 3.0
DOMAINS: dict[str, dict[str, object]] = {
    "example.test": {},
    "required.test": {"outgoing": "required"},
    "never.test": {"outgoing": "never"},
}
LOCAL = ("bob@example.test", "carol@example.test")
PEERS = ("pat@outside.test", "quinn@outside.test")
UNKNOWN = "stranger@outside.test"
EVERYBODY = (*LOCAL, *PEERS, UNKNOWN)

Reply = tuple[int, str]
"""Code and enhanced status code."""

ACCEPTED: Reply = (250, "2.0.0")
DEFERRED: Reply = (451, "4.3.0")

_NUMBER = re.compile(rb"^Message-ID: <(\d+)\.", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Writer:
    """One of the provider's users, who hands in mail: by a login, or a client certificate."""

    stack: Stack
    address: str
    certificate: Path | None = None

    def new_canaries(self) -> Canaries:
        """Return words for mail of his."""
        return Canaries(author=f"Writer <{self.address}>")

    def send(self, message: bytes, to: Sequence[str]) -> Sent:
        """See `Stack.submit`."""
        login = None if self.certificate else (self.address, PASSWORD)
        return self.stack.submit(
            message, to, self.address, login=login, certificate=self.certificate
        )

    def hears(self, message: bytes, to: Sequence[str]) -> Reply:
        """Try once, all recipients or none; return the reply that decided."""
        try:
            sent = self.send(message, to)
        except smtplib.SMTPResponseException as error:
            return reply(error.smtp_code, error.smtp_error)
        assert not sent.refused, sent.refused
        return ACCEPTED

    def insists(self, message: bytes, to: Sequence[str], seconds: float = 120) -> None:
        """Try until it is accepted."""
        persist(self, message, to, seconds)


def reply(code: int, text: bytes | str) -> Reply:
    """Return what decides of a reply."""
    words = text.decode() if isinstance(text, bytes) else text
    return code, words.split()[0]


class Host:
    """A provider with five mailboxes to write to: two here, and three outside.

    `PEERS` are known with a certificate, `UNKNOWN` is not. All were written to once, so that
    what is said of their mailboxes is held; of certificates outside nothing is, for they are
    asked for anew after a restart.
    """

    def __init__(
        self, directory: Path, resources: ExitStack, workers: int = 1, **options: object
    ) -> None:
        """`workers`: of submission. `options` are the stack's."""
        self.provider = Provider(
            directory,
            resources,
            domains=DOMAINS,
            workers=1,
            deadline_seconds=DEADLINE_SECONDS,
            **options,
        )
        self._workers = workers
        self.stack = self.provider.stack
        self.sink = self.provider.sink
        self._put_proxies(resources)
        milter_settings.change(
            self.stack, "submission", lookup_seconds=DEADLINE_SECONDS, workers=workers
        )
        milter_settings.change(self.stack, "spill", threshold_octets=65_536)
        self.stack.stop_daemon("milter", 30)
        self.stack.start_daemon("milter")
        self.owners: dict[str, MemoryOwner] = {}
        for address in LOCAL:
            self.owners[address] = owner = MemoryOwner(address)
            self.stack.enrol(address, bytes(owner.certificate))
        for address in PEERS:
            self.learn(address)
        self._numbers = itertools.count(1)
        writer = self.writer()
        writer.insists(writer.new_canaries().message(), EVERYBODY)
        self.settle()
        self.sink.messages.clear()

    def writer(self, domain: str = "example.test") -> Writer:
        """Return a user of whom the milter has not heard."""
        return Writer(self.stack, f"writer{next(self._numbers)}@{domain}")

    def peer(self) -> str:
        """Return a mailbox outside whose certificate is known, but not to the milter yet."""
        address = f"peer{next(self._numbers)}@outside.test"
        self.learn(address)
        return address

    def learn(self, address: str) -> None:
        """Let a certificate of a mailbox outside be known."""
        self.owners[address] = owner = MemoryOwner(address)
        self.provider.learn(address, five_of(bytes(owner.certificate)))

    @contextmanager
    def without(self, daemon: str, how: str) -> Iterator[None]:
        """Have a daemon `killed` or `hung` meanwhile, or (the key service) `gone`."""
        match how:
            case "killed":
                self.stack.kill_daemon(daemon)
                try:
                    yield
                finally:
                    self.stack.start_daemon(daemon)
            case "hung":
                self.stack.signal_daemon(daemon, signal.SIGSTOP, children=True)
                try:
                    yield
                finally:
                    self.stack.signal_daemon(daemon, signal.SIGCONT, children=True)
            case _:
                with self.keyservice.gone():
                    yield

    def workers(self, role: str = "submission") -> list[int]:
        """Return the processes of a role that serve."""
        return [pid for pid in self.stack.pids("milter") if _serves(pid, role)]

    def wait_for_workers(self) -> None:
        """Return when all of both roles are there."""
        wanted = (1, self._workers)
        running = lambda: (len(self.workers("inbound")), len(self.workers()))  # noqa: E731
        wait_until(lambda: running() == wanted, "workers", 90)

    def received(self, address: str, canaries: Canaries) -> Counter[int]:
        """Return the numbers of the messages that reached this mailbox, and how many of each."""
        numbers = map(_NUMBER.search, self.texts(address, canaries))
        return Counter(int(number[1]) for number in numbers if number)

    def texts(self, address: str, canaries: Canaries) -> list[bytes]:
        """Return what the owner of this mailbox reads in the messages that `canaries` are in."""
        read = map(self._reader(address), self._at(address))
        return [text for text in read if canaries.subject.encode() in text]

    def require_each_got_one(
        self, canaries: Canaries, number: int, to: Collection[str] = EVERYBODY
    ) -> None:
        """What was accepted is in each mailbox, once."""
        self.settle()
        got = {address: dict(self.received(address, canaries)) for address in to}
        assert {address: {number: 1} for address in to} == got

    def settle(self) -> None:
        """Return when Postfix is done, and has left nothing behind."""
        self.stack.wait_until_queue_is_empty()
        wait_until(lambda: not self.stack.queue_files(), "no orphan", 90)

    def require_nothing_betrayed(self, canaries: Canaries) -> None:
        """Whatever has happened: what left is signed, and encrypted for whoever can read it."""
        self.settle()
        assert [] == self.violations(canaries)
        assert [] == canary.found(canary.stored_files(self.stack), canaries.words)
        self.sink.messages.clear()

    def violations(self, canaries: Canaries) -> list[str]:
        """Return in words what policy forbids of what has left."""
        return [fault for taken in self.sink.messages for fault in self._faults(taken, canaries)]

    def _faults(self, taken: Taken, canaries: Canaries) -> Iterator[str]:
        to = ", ".join(taken.forward_paths)
        verdicts = dkimpy(taken.octets, self.provider.records)
        # One signature by each key: RSA for those who know nothing else.
        if ["pass", "pass"] != list(verdicts.values()):
            yield f"{to}: signatures: {verdicts}"
        if not self.owners.keys() & set(taken.forward_paths):
            return
        if b"BEGIN PGP MESSAGE" not in taken.octets:
            yield f"{to}: not encrypted"
        if canary.betrayals(taken.octets, canaries.words):
            yield f"{to}: in the clear"
        if len(taken.forward_paths) > 1:
            yield f"{to}: one copy for several"

    def _at(self, address: str) -> list[bytes]:
        if address.partition("@")[2] in DOMAINS:
            return self.stack.maildir(address)
        return [taken.octets for taken in self.provider.transactions(address)]

    def _reader(self, address: str) -> Callable[[bytes], bytes]:
        owner = self.owners.get(address)
        return lambda octets: owner.decrypt(octets) if owner and b"BEGIN PGP" in octets else octets

    def _put_proxies(self, resources: ExitStack) -> None:
        layout = self.stack.layout
        path = layout.run / "proxy.sock"
        self.keyservice = resources.enter_context(
            KeyServiceProxy(path, Path(keyservice_socket(layout)))
        )
        self.reentry = resources.enter_context(ReentryProxy(layout.address("reentry"), free_port()))
        milter_settings.change(self.stack, "keyservice", socket=str(path))
        milter_settings.change(self.stack, "postfix", reentry=f"127.0.0.1:{self.reentry.port}")


def _serves(pid: int, role: str) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        # One that is still starting has a single thread, and serves nobody yet.
        return f"--role\0{role}".encode() in command and len(os.listdir(f"/proc/{pid}/task")) > 3
    except OSError:
        return False


def within(seconds: float, began: float) -> bool:
    """Whether no more than `seconds` have passed since `began` (time.monotonic)."""
    return time.monotonic() - began < seconds
