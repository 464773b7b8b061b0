"""`letterlock client-certificate issue|renew|revoke|list`: what owners submit mail with."""

import os
import re
import secrets
import string
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import click
import msgspec

from keyservice.client import (
    ClientCertificateRequest,
    ClientCertificateState,
    IssuedClientCertificate,
    Mailbox,
)
from letterlock.cli.client_authorities import authorities
from letterlock.cli.output import day, print_json, print_table
from letterlock.cli.service import MailboxParameter, key_service, speaks_with_service

_STATES = {
    ClientCertificateState.IN_FORCE: "in force",
    ClientCertificateState.REVOKED: "revoked",
    ClientCertificateState.ENDED: "ended",
    ClientCertificateState.UNTRUSTED: "authority retired or ended",
    ClientCertificateState.OUTSIDE: "domain not ours",
}

_ALPHABET = string.ascii_letters + string.digits
_PASSWORD_CHARACTERS = 22
"""131 bits: PKCS#12 hardly slows guessing down."""


class CertificateFingerprint(click.ParamType[str]):
    """SHA-256 over a certificate, with or without colons, as openssl and Postfix show it."""

    name = "fingerprint"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return 64 digits in lower case, or fail."""
        digits = re.sub(r"[:\s]", "", str(value)).lower()
        if not re.fullmatch(r"[0-9a-f]{64}", digits):
            self.fail("not a SHA-256 fingerprint of 64 digits", param, ctx)
        return digits


@click.group("client-certificate")
def client_certificate() -> None:
    """Issue and revoke the X.509 certificates with which owners submit mail."""


client_certificate.add_command(authorities)


@client_certificate.command()
@click.argument("mailbox", metavar="ADDRESS", type=MailboxParameter())
@click.option(
    "--out", metavar="FILE|-", help="Write PEM: the certificate, and the key if made here."
)
@click.option("--pkcs12", metavar="FILE", help="Write PKCS#12, for Thunderbird and others.")
@click.option("--ask-password", is_flag=True, help="Ask for the password of --pkcs12.")
@click.option(
    "--request",
    metavar="FILE|-",
    type=click.File("rb"),
    help="Certify the key of this PKCS#10 request; its names do not count.",
)
@speaks_with_service
def issue(
    mailbox: Mailbox,
    out: str | None,
    pkcs12: str | None,
    ask_password: bool,
    request: BinaryIO | None,
    service: str,
    as_json: bool,
) -> None:
    """Issue a client certificate for ADDRESS; those that it has stay in force.

    Without --request the key pair is made here and is in FILE only, which must be new.
    """
    if (out is None) == (pkcs12 is None) or (pkcs12 and request) or (ask_password and not pkcs12):
        raise click.UsageError("give --out, perhaps with --request, or --pkcs12")
    password = _password(ask_password) if pkcs12 else None
    wanted = ClientCertificateRequest(
        request=request.read() if request else None, pkcs12_password=password
    )
    with _new_file(pkcs12 or out) as file, key_service(service) as client:
        issued = client.client_certificates.issue(mailbox, wanted)
        file.write(issued.pkcs12 or _pem(issued))
    _tell(issued, as_json, beside=out == "-")
    if password and not ask_password:
        click.echo(f"Password: {password}", err=as_json)


@client_certificate.command()
@click.argument("fingerprint", metavar="FPR", type=CertificateFingerprint())
@click.option("--out", metavar="FILE|-", default="-", help="Write the certificate, PEM.")
@speaks_with_service
def renew(fingerprint: str, out: str, service: str, as_json: bool) -> None:
    """Issue a certificate for the address and the key of the certificate FPR.

    Whoever has the private key goes on using it. The old certificate stays in force until it
    ends; to revoke one of them revokes both.
    """
    with _new_file(out) as file, key_service(service) as client:
        issued = client.client_certificates.renew(fingerprint)
        file.write(_pem(issued))
    _tell(issued, as_json, beside=out == "-")


@client_certificate.command()
@click.argument("fingerprints", metavar="[FPR...]", nargs=-1, type=CertificateFingerprint())
@click.option(
    "--all", "mailbox", metavar="ADDRESS", type=MailboxParameter(), help="All of ADDRESS."
)
@speaks_with_service
def revoke(
    fingerprints: tuple[str, ...], mailbox: Mailbox | None, service: str, as_json: bool
) -> None:
    """End client certificates, and all others for the same keys, at once and for good."""
    if bool(fingerprints) == (mailbox is not None):
        raise click.UsageError("give fingerprints, or --all ADDRESS")
    with key_service(service) as client:
        calls = client.client_certificates
        if mailbox is not None:
            listed = calls.listed(mailbox)
            fingerprints = tuple(c.fingerprint for c in listed if c.revoked_at is None)
        revoked = [calls.revoke(each) for each in fingerprints]
    if as_json:
        print_json(revoked)
        return
    for line in dict.fromkeys(
        f"{done.mailbox}: revoked {colons(each)}" for done in revoked for each in done.fingerprints
    ):
        click.echo(line)


@client_certificate.command("list")
@click.argument("mailbox", metavar="[ADDRESS]", type=MailboxParameter(), required=False)
@click.option(
    "--expiring",
    metavar="[DAYS]",
    type=click.IntRange(1, 36_500),
    is_flag=False,
    flag_value=60,
    help="Only those in force that end within DAYS (60) days, the next one first.",
)
@speaks_with_service
def list_certificates(
    mailbox: Mailbox | None, expiring: int | None, service: str, as_json: bool
) -> None:
    """List client certificates, of ADDRESS or all."""
    with key_service(service) as client:
        listed = list(client.client_certificates.listed(mailbox, expiring))
    if expiring is not None:
        listed = [c for c in listed if c.state is ClientCertificateState.IN_FORCE]
        listed.sort(key=lambda c: (c.not_after, c.mailbox))
    else:
        listed.sort(key=lambda c: (c.mailbox, c.issued_at))
    if as_json:
        print_json(listed)
        return
    rows = [
        (c.mailbox, _STATES[c.state], day(c.issued_at), day(c.not_after), colons(c.fingerprint))
        for c in listed
    ]
    print_table("Client certificates", ("mailbox", "state", "issued", "until", "SHA-256"), rows)


def colons(fingerprint: str) -> str:
    """Return a fingerprint as Postfix and openssl show it."""
    digits = fingerprint.upper()
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))


@contextmanager
def _new_file(path: str | None) -> Iterator[BinaryIO]:
    """Yield a file that nobody else can read; it is gone if the block fails. `-` is stdout."""
    if path is None or path == "-":
        yield sys.stdout.buffer
        return
    try:
        # Never over another one: it may hold the only copy of a private key.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise click.BadParameter(f"{path}: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
    except BaseException:
        Path(path).unlink(missing_ok=True)
        raise


def _pem(issued: IssuedClientCertificate) -> bytes:
    """Return the certificate, then the private key, as openssl and swaks read them."""
    return (issued.certificate + (issued.private_key or "")).encode()


def _tell(issued: IssuedClientCertificate, as_json: bool, *, beside: bool) -> None:
    """Say what was issued, on stderr if `beside` a certificate on stdout."""
    if as_json:
        shown = msgspec.structs.replace(issued, private_key=None, pkcs12=None)
        click.echo(msgspec.json.format(msgspec.json.encode(shown)), err=beside)
        return
    for line in (
        f"{issued.mailbox}: issued, until {day(issued.not_after)}",
        f"SHA-256 {colons(issued.fingerprint)}",
        f"Issuer  {issued.issuer}",
    ):
        click.echo(line, err=beside)


def _password(ask: bool) -> str:
    if ask:
        password: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
        return password
    return "".join(secrets.choice(_ALPHABET) for _ in range(_PASSWORD_CHARACTERS))
