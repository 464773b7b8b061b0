"""From foreign octets to a verdict that is counted: prescan here, the rest in the child."""

from typing import Protocol

from keyservice import bundle, packets
from keyservice.certificate import Certificate, Refusal, RefusalReason, RejectedCertificate
from keyservice.foreign import Question
from keyservice.metrics import Metrics
from keyservice.packets import Component
from keyservice.vetting_child import Verdict


class Vets(Protocol):
    """Judges certificates in a limited child: `vetting.Vetter`."""

    def vet(self, octets: bytes) -> Verdict:
        """Return the verdict, or raise RejectedCertificate."""
        ...


class Examines(Vets, Protocol):
    """Judges also what strangers showed."""

    def examine(self, question: Question) -> Verdict:
        """Return the verdict, or raise RejectedCertificate."""
        ...


class Judge:
    """Any thread may call it."""

    def __init__(self, vetter: Examines, metrics: Metrics) -> None:
        """Have `vetter` do what is dangerous."""
        self._vetter = vetter
        self._counts = _Counts(metrics)

    def split(self, octets: bytes) -> list[bytes]:
        """Return the certificates in the reply of a stranger. Raises RejectedCertificate."""
        with self._counts:
            return bundle.certificates(octets)

    def prescan(self, octets: bytes) -> tuple[Component, ...]:
        """Return the components of the one certificate in `octets`.

        Raises RejectedCertificate; no foreign octet has met a cryptographic library then.
        """
        with self._counts:
            return packets.require_one_certificate(octets)

    def vet(self, octets: bytes) -> tuple[Certificate, bytes]:
        """Return the facts about a prescanned certificate, and its minimised octets.

        The facts may hold a refusal; raises RejectedCertificate if there are no facts.
        """
        with self._counts:
            verdict = self._vetter.vet(octets)
            certificate = _certificate(verdict)
        self._counts.count(certificate.refusal)
        return certificate, verdict.octets

    def examine(self, question: Question) -> tuple[Certificate, Verdict]:
        """Return the facts about what strangers showed, and all of the verdict; as `vet`."""
        with self._counts:
            verdict = self._vetter.examine(question)
            certificate = _certificate(verdict)
        self._counts.count(certificate.refusal)
        return certificate, verdict


def _certificate(verdict: Verdict) -> Certificate:
    if verdict.certificate is None:
        refusal = verdict.refusal or Refusal(RefusalReason.VETTING_FAILED, "no verdict")
        raise RejectedCertificate(refusal.reason, refusal.detail)
    return verdict.certificate


class _Counts:
    """Counts every certificate that is refused while the `with` block lasts."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, RejectedCertificate):
            self.count(error.refusal)
            if error.refusal.reason is RefusalReason.SECRET_KEY:
                self._metrics.secret_key_material.inc()

    def count(self, refusal: Refusal | None) -> None:
        labels = ("refused", refusal.reason.value) if refusal else ("usable", "")
        self._metrics.vettings.labels(*labels).inc()
