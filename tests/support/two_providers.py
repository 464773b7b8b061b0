"""Two mail providers that write to each other, set up with what an operator types and writes.

Each has a stack of its own. Between them are a DNS that both believe, and a route for each
direction, on which mail is read along and comes from a public address.
"""

from contextlib import ExitStack
from pathlib import Path
from typing import Self

from click.testing import CliRunner

from delivered import Delivered, watch
from letterlock.cli import main
from mail_route import MailRoute
from ports import free_port
from smtp_sink import SMTPSink
from stack import Owner, Stack, daemons
from unbound import Signing, Unbound

ALPHA, BETA, GAMMA = "alpha.example", "beta.example", "gamma.example"
ALICE, BOB, CAROL = f"alice@{ALPHA}", f"bob@{BETA}", f"carol@{GAMMA}"

ADDRESSES = {ALPHA: "198.51.100.10", BETA: "203.0.113.20"}
"""From which the two send their mail."""

STRANGER = "192.0.2.66"
"""From which anybody else sends his."""

_ZONE = """\
@ MX 10 mx
mx A {address}
@ TXT "v=spf1 mx -all"
mx TXT "v=spf1 a -all"
"""


class Provider:
    """One of the two: its host, and its operator."""

    def __init__(self, directory: Path, domain: str, nameserver: str) -> None:
        """Lay everything out; nothing runs yet."""
        self.domain = domain
        self.directory = directory
        self.stack = Stack(
            directory,
            hostname=f"mx.{domain}",
            domains={domain: {}},
            submission=True,
            # Two stacks at work beside others' tests.
            deadline_seconds=20,
            authentication={"nameserver": nameserver, "unjudged_is_spam": False},
            parameters={"smtpd_authorized_xclient_hosts": "127.0.0.1"},
        )

    def letterlock(self, *arguments: str) -> str:
        """Run the operator's command; return what it prints. Fails if it does."""
        environment = {
            "LETTERLOCK_KEYSERVICE": f"unix:{daemons.keyservice_socket(self.stack.layout)}",
            "LETTERLOCK_DKIM_DIRECTORY": str(self.stack.dkim_directory),
        }
        done = CliRunner(env=environment).invoke(main, arguments, catch_exceptions=False)
        assert 0 == done.exit_code, done.output
        return done.stdout

    def enrol(self, owner: Owner) -> None:
        """Have mail for the owner encrypted."""
        certificate = self.directory / f"{owner.address}.asc"
        certificate.write_bytes(owner.certificate)
        self.letterlock("enrol", owner.address, str(certificate))

    def client_certificate(self, address: str) -> Path:
        """Return a file with what `address` needs to submit mail; made on first use."""
        file = self.directory / f"{address}.pem"
        if not file.exists():
            self.letterlock("client-certificate", "issue", address, "--out", str(file))
        return file


class TwoProviders:
    """Alpha and Beta, running; a context manager. Alice is Alpha's, Bob is Beta's.

    Carol is somebody else's, who keeps mail as it comes.
    """

    def __init__(self, directory: Path, alice: Owner, bob: Owner) -> None:
        """Lay everything out, and make the keys for DKIM; nothing runs yet."""
        self._resources = ExitStack()
        self.owners = {ALICE: alice, BOB: bob}
        port = free_port()
        self.alpha, self.beta = self.providers = tuple(
            Provider(directory / name, domain, f"127.0.0.1:{port}")
            for name, domain in (("alpha", ALPHA), ("beta", BETA))
        )
        zones = {
            provider.domain: (
                Signing.NOT,
                _ZONE.format(address=ADDRESSES[provider.domain])
                + provider.letterlock("dkim-key", "generate", provider.domain),
            )
            for provider in self.providers
        }
        (directory / "dns").mkdir()
        self.dns = Unbound(directory / "dns", zones, validating=False, port=port)

    def __enter__(self) -> Self:
        """Start everything, activate the keys, and enrol both owners."""
        with ExitStack() as resources:
            resources.enter_context(self.dns)
            self.carol = resources.enter_context(SMTPSink())
            self.to_alpha = resources.enter_context(self._route(self.alpha, ADDRESSES[BETA]))
            self.to_beta = resources.enter_context(self._route(self.beta, ADDRESSES[ALPHA]))
            self.from_elsewhere = resources.enter_context(self._route(self.beta, STRANGER))
            self.alpha.stack.relay({BETA: self.to_beta.address, GAMMA: self.carol.address})
            self.beta.stack.relay({ALPHA: self.to_alpha.address, GAMMA: self.carol.address})
            for provider in self.providers:
                nameserver = f"127.0.0.1:{self.dns.port}"
                provider.letterlock(
                    "dkim-key", "activate", provider.domain, "--nameserver", nameserver
                )
                resources.enter_context(provider.stack)
            for owner in self.owners.values():
                self.provider_of(owner.address).enrol(owner)
            self._resources = resources.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def provider_of(self, address: str) -> Provider:
        """Return the one whose mailbox that is."""
        return next(one for one in self.providers if address.endswith(f"@{one.domain}"))

    def submit(self, sender: str, message: bytes, *to: str) -> list[Delivered]:
        """Let `sender` submit; return what that adds to the mailbox of the first of `to`."""
        there = self.provider_of(to[0]).stack
        return watch(there, [to[0]], lambda: self.hand_in(sender, message, *to))[to[0]]

    def hand_in(self, sender: str, message: bytes, *to: str) -> None:
        """Let `sender` submit; return when it has left, or was delivered."""
        provider = self.provider_of(sender)
        certificate = provider.client_certificate(sender)
        provider.stack.submit(message, to, sender, certificate=certificate)
        provider.stack.wait_until_queue_is_empty()

    def _route(self, provider: Provider, source: str) -> MailRoute:
        return MailRoute(provider.stack.layout.address("smtp"), source)
