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
from smtp_sink import SMTPSink
from stack import Owner, Stack, daemons
from unbound import Signing, Unbound, free_port

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

    def admit(self, owner: Owner) -> Path:
        """Enrol the owner's certificate; return a client certificate to submit mail with."""
        certificate = self.directory / f"{owner.address}.asc"
        certificate.write_bytes(owner.certificate)
        self.letterlock("enrol", owner.address, str(certificate))
        client_certificate = self.directory / f"{owner.address}.pem"
        self.letterlock(
            "client-certificate", "issue", owner.address, "--out", str(client_certificate)
        )
        return client_certificate


class TwoProviders:
    """Alpha and Beta, running; a context manager. Alice is Alpha's, Bob is Beta's.

    Carol is somebody else's, who keeps mail as it comes.
    """

    def __init__(self, directory: Path, alice: Owner, bob: Owner) -> None:
        """Lay everything out, and make the keys for DKIM; nothing runs yet."""
        self._resources = ExitStack()
        self.owners = {ALICE: alice, BOB: bob}
        self.client_certificates: dict[str, Path] = {}
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
        """Start everything, activate the keys, and admit both owners."""
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
                admitted = self.provider_of(owner.address).admit(owner)
                self.client_certificates[owner.address] = admitted
            self._resources = resources.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def provider_of(self, address: str) -> Provider:
        """Return the one whose mailbox that is."""
        return next(one for one in self.providers if address.endswith(f"@{one.domain}"))

    def submit(self, sender: str, message: bytes, *to: str) -> list[Delivered]:
        """Let `sender` submit; return what that adds to the mailbox of the first of `to`."""
        here, there = self.provider_of(sender).stack, self.provider_of(to[0]).stack

        def act() -> None:
            certificate = self.client_certificates[sender]
            here.submit(message, to, sender, certificate=certificate)
            here.wait_until_queue_is_empty()

        return watch(there, [to[0]], act)[to[0]]

    def _route(self, provider: Provider, source: str) -> MailRoute:
        return MailRoute(provider.stack.layout.address("smtp"), source)
