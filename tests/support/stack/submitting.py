"""Handing in mail as one of the users does: under TLS, by login or by client certificate."""

import smtplib
import ssl
from collections.abc import Sequence
from pathlib import Path

from keyservice.client import ClientCertificateRequest, Mailbox, OperatorClient
from stack import smtp, submission
from stack.layout import Layout

CLIENT_HOST = "laptop.home.test"
"""What the client calls itself; nothing that leaves may say it."""


class Submitting:
    """The part of a stack that users see."""

    layout: Layout

    @property
    def operator(self) -> OperatorClient:
        """The operator's client of the key service."""
        raise NotImplementedError

    def submit(
        self,
        message: bytes,
        to: Sequence[str] | str,
        sender: str,
        *,
        login: tuple[str, str] | None = None,
        certificate: Path | None = None,
        service: str = "submissions",
        options: Sequence[str] = (),
    ) -> smtp.Sent:
        """Hand in `message` and return what was said to it.

        `login`: name and password, which is `PASSWORD` for every address. `certificate`: file
        with a client certificate and its key. `service`: submissions (TLS at once) or
        submission (STARTTLS). Raises as `Stack.send` does, and SMTPAuthenticationError.
        """
        recipients = [to] if isinstance(to, str) else list(to)
        with self.submission(certificate=certificate, service=service) as server:
            if login is not None:
                server.login(*login)
            return smtp.transact(server, message, recipients, sender, options)

    def submission(
        self, *, certificate: Path | None = None, service: str = "submissions"
    ) -> smtplib.SMTP:
        """Return a session under TLS that shows `certificate`, if any; not logged in."""
        context = self.tls_context
        if certificate is not None:
            context.load_cert_chain(certificate)
        address = self.layout.address(service)
        if service == "submissions":
            return smtplib.SMTP_SSL(*address, CLIENT_HOST, timeout=120, context=context)
        server = smtplib.SMTP(*address, CLIENT_HOST, timeout=120)
        server.starttls(context=context)
        return server

    @property
    def tls_context(self) -> ssl.SSLContext:
        """A new context that trusts the servers of this stack, and no others."""
        return ssl.create_default_context(cafile=submission.server_certificate(self.layout))

    def client_certificate(self, address: str) -> Path:
        """Return a file with a new client certificate for `address` and its private key."""
        issued = self.operator.client_certificates.issue(
            Mailbox.parse(address), ClientCertificateRequest()
        )
        assert issued.private_key is not None
        file = self.layout.state / f"{issued.fingerprint}.pem"
        file.touch(mode=0o600)
        file.write_text(issued.certificate + issued.private_key)
        return file

    def require_authority(self) -> None:
        """Have the key service make an authority, if it has none: without it smtpd has no TLS."""
        authorities = self.operator.client_certificates
        if not authorities.authorities().trusted:
            authorities.create_authority()

    @property
    def dkim_directory(self) -> Path:
        """Where the milter looks for signing keys."""
        return submission.dkim_directory(self.layout)
