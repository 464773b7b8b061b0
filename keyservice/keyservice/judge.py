"""From foreign octets to a verdict that is counted: prescan here, the rest in the child."""

from typing import Protocol

from keyservice import packets
from keyservice.certificate import Certificate, Refusal, RefusalReason, RejectedCertificate
from keyservice.metrics import Metrics
from keyservice.packets import Component
from keyservice.vetting_child import Verdict


class Vets(Protocol):
    """Judges certificates in a limited child: `vetting.Vetter`."""

    def vet(self, octets: bytes) -> Verdict:
        """Return the verdict, or raise RejectedCertificate."""
        ...


class Judge:
    """Any thread may call it."""

    def __init__(self, vetter: Vets, metrics: Metrics) -> None:
        """Have `vetter` do what is dangerous."""
        self._vetter = vetter
        self._metrics = metrics

    def prescan(self, octets: bytes) -> tuple[Component, ...]:
        """Return the components of the one certificate in `octets`.

        Raises RejectedCertificate; no foreign octet has met a cryptographic library then.
        """
        try:
            return packets.require_one_certificate(octets)
        except RejectedCertificate as rejected:
            self._count(rejected.refusal)
            if rejected.refusal.reason is RefusalReason.SECRET_KEY:
                self._metrics.secret_key_material.inc()
            raise

    def vet(self, octets: bytes) -> tuple[Certificate, bytes]:
        """Return the facts about a prescanned certificate, and its minimised octets.

        The facts may hold a refusal; raises RejectedCertificate if there are no facts.
        """
        try:
            verdict = self._vetter.vet(octets)
        except RejectedCertificate as rejected:
            self._count(rejected.refusal)
            raise
        if verdict.certificate is None:
            refusal = verdict.refusal or Refusal(RefusalReason.VETTING_FAILED, "no verdict")
            self._count(refusal)
            raise RejectedCertificate(refusal.reason, refusal.detail)
        self._count(verdict.certificate.refusal)
        return verdict.certificate, verdict.octets

    def _count(self, refusal: Refusal | None) -> None:
        labels = ("refused", refusal.reason.value) if refusal else ("usable", "")
        self._metrics.vettings.labels(*labels).inc()
