"""What of a certificate that anybody may have shown is kept, and whether it can be used.

Runs in the vetting child. Copies of one certificate are merged, so what is stored must not
fill up with signatures that nobody can verify: a revocation would find no room any more.
Kept is therefore only what holds: what `publishable` lets through, and every revocation that
the primary key made of itself or of a user ID, from whatever source.
"""

from keyservice import packets
from keyservice.certificate import Certificate, RejectedCertificate
from keyservice.certification import certification_revocation_holds, revocation_holds
from keyservice.certification_pgpy import second_opinion
from keyservice.foreign import Question
from keyservice.packets import USER_ID, Component, Packet, fingerprint, serialise
from keyservice.publishable import publishable
from keyservice.signature import Kind, MalformedSignature, read
from keyservice.transition import Transition, transition
from keyservice.vet import vet
from keyservice.vetting_child import Verdict, is_shown

__all__ = ["Question", "examine"]


def examine(question: Question, now: float) -> Verdict:
    """Return the facts, what is to be stored (nothing: empty), and about a transition.

    Raises RejectedCertificate if there is nothing stored and nothing to speak about.
    """
    shown = packets.components(packets.split(question.shown))
    stored = packets.components(packets.split(question.stored))
    kept = _kept(stored, shown, now)
    if kept:
        certificate, octets = vet(serialise(kept), now)
    else:
        certificate, octets = vet(question.shown, now)[0], b""
    return Verdict(certificate, octets, transition=_transition(question, certificate, shown, now))


def _kept(
    stored: tuple[Component, ...], shown: tuple[Component, ...], now: float
) -> tuple[Component, ...]:
    whole = packets.merge(stored, shown)
    revocations = _revocations(whole)
    try:
        certificate, octets = vet(serialise(whole), now)
        proven = publishable(octets) if is_shown(certificate) else b""
    except RejectedCertificate:
        if not stored:
            raise
        proven = b""  # with what was added it is too large, or no certificate any more
    if proven:
        return packets.merge(packets.components(packets.split(proven)), revocations)
    return packets.merge(stored, revocations) if stored else ()


def _revocations(certificate: tuple[Component, ...]) -> tuple[Component, ...]:
    """Return the components that have revocations by the primary key, with those only."""
    primary = certificate[0].packet
    held = (
        Component(component.packet, tuple(_holding(primary, component)))
        for component in certificate
        if component.packet.tag == USER_ID or component.packet == primary
    )
    return tuple(component for component in held if component.signatures)


def _holding(primary: Packet, component: Component) -> list[Packet]:
    if component.packet == primary:
        claimed = _of_kind(component, Kind.KEY_REVOCATION)
        return [packet for packet in claimed if revocation_holds(primary, packet)]
    return [
        packet
        for packet in _of_kind(component, Kind.CERTIFICATION_REVOCATION)
        if certification_revocation_holds(primary, primary, component.packet, packet)
    ]


def _of_kind(component: Component, kind: Kind) -> list[Packet]:
    found = []
    for packet in component.signatures:
        try:
            if read(packet).kind == kind:
                found.append(packet)
        except MalformedSignature:
            continue
    return found


def _transition(
    question: Question, certificate: Certificate, shown: tuple[Component, ...], now: float
) -> Transition | None:
    registered = question.registered
    if registered is None or fingerprint(registered.primary) == certificate.fingerprint:
        return None
    return transition(registered, shown, question.mailbox, now, second_opinion)
