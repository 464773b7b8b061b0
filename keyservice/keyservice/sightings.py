"""What a message that came in is evidence of, and how much that is worth. Pure.

An Autocrypt field is worth PROVIDER_TRUST when the sender's own domain vouches for it, and
WEAK_CHAIN otherwise; all of these must hold:

1. one From field with one address, and the message is not spam: somebody has to say so;
2. a DKIM signature that verified, its `d=` the very domain of that address. A parent domain
   is not enough: to know which parents belong together takes a list of public suffixes;
3. it signs From, and every Autocrypt field there is: of several fields of one name a
   signature that names it once covers only the last (RFC 6376 §5.4.2), and the others are
   anybody's;
4. without `l=`, which lets others write the rest of the body;
5. the one user ID of the certificate names the address.

An attached certificate is WEAK_CHAIN whatever signed the message: people attach each
other's certificates, and the sender's domain vouches for the mail, not for those.

About a mailbox of ours no message from outside is ever evidence. Its owner or the operator
enrols its certificate; otherwise whoever can write to a server could choose what the mail
of its people is encrypted to.
"""

from collections.abc import Collection

import msgspec

from keyservice import autocrypt, packets
from keyservice.autocrypt import Fault, Header
from keyservice.certificate import addr_specs
from keyservice.levels import Level, Source
from keyservice.mailbox import InvalidMailbox, Mailbox
from keyservice.openpgp_field import Hint, read
from keyservice.report_wire import Refused, Report, VerifiedSignature


class RefusedReport(Exception):
    """Nothing of the message is evidence."""

    def __init__(self, reason: Refused) -> None:
        super().__init__(reason.value)
        self.reason = reason


class Sighting(msgspec.Struct, frozen=True):
    """Octets that claim to be a certificate of the sender. Still to be vetted."""

    source: Source
    level: Level
    octets: bytes


class Evidence(msgspec.Struct, frozen=True):
    """All that one message says about its sender."""

    mailbox: Mailbox
    effective_date: int
    header: Header | None
    """With `effective_date`, what `autocrypt_peer.updated` takes. None counts, too."""

    sightings: tuple[Sighting, ...]
    hint: Hint
    faults: tuple[Fault, ...] = ()
    """Fault.SECRET_KEY among them: somebody sends his secret key around."""


def evidence(report: Report, local_domains: Collection[str]) -> Evidence:
    """Return what `report` is evidence of. Raises RefusedReport.

    `local_domains` are those served here, as `Mailbox.domain` spells them.
    """
    sender = _require_sender(report)
    if sender.domain in local_domains:
        raise RefusedReport(Refused.LOCAL_MAILBOX)
    if report.is_spam:
        raise RefusedReport(Refused.SPAM)
    # Autocrypt Level 1, "Updating Autocrypt Peer State": such mail is no sign of a client.
    if report.is_automatic:
        raise RefusedReport(Refused.AUTOMATIC)
    reading = autocrypt.sent_by(report.autocrypt_fields, sender)
    attached = [Sighting(Source.ATTACHED, Level.WEAK_CHAIN, octets) for octets in report.attached]
    return Evidence(
        sender,
        autocrypt.effective_date(report.date, report.received_at),
        reading.header,
        (*_in_header(report, reading.header, sender), *attached),
        read(report.openpgp_fields),
        reading.faults,
    )


def _require_sender(report: Report) -> Mailbox:
    if report.from_fields != 1 or len(report.from_addresses) != 1:
        raise RefusedReport(Refused.NOT_ONE_SENDER)
    try:
        return Mailbox.parse(report.from_addresses[0])
    except InvalidMailbox:
        raise RefusedReport(Refused.NOT_ONE_SENDER) from None


def _in_header(report: Report, header: Header | None, sender: Mailbox) -> tuple[Sighting, ...]:
    if header is None:
        return ()
    is_vouched_for = (
        report.is_spam is False
        and any(_vouches(signature, report, sender) for signature in report.signatures)
        and _names(header.keydata, sender)
    )
    level = Level.PROVIDER_TRUST if is_vouched_for else Level.WEAK_CHAIN
    return (Sighting(Source.AUTOCRYPT, level, header.keydata),)


def _vouches(signature: VerifiedSignature, report: Report, sender: Mailbox) -> bool:
    return (
        signature.domain.lower() == sender.domain
        and not signature.has_body_length
        and "from" in signature.signed_fields
        and signature.signed_fields.count("autocrypt") >= len(report.autocrypt_fields)
    )


def _names(certificate: bytes, sender: Mailbox) -> bool:
    return any(
        addr_specs(packet.body.decode(errors="replace")) == (sender.key,)
        for packet in packets.split(certificate)
        if packet.tag == packets.USER_ID
    )
