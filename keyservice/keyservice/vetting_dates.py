"""When certificates are vetted again."""

import random

from keyservice.certificate import Certificate

VETTING_INTERVAL = 86_400
"""Seconds. Policies of the engine cut off weak algorithms by date."""


def vet_at(certificate: Certificate, now: int) -> int:
    """Return when to vet a certificate again that was vetted at `now`."""
    # Spread: certificates that were imported together should not be vetted together.
    daily = now + int(VETTING_INTERVAL * random.uniform(0.9, 1.0))  # noqa: S311 (not for secrets)
    ends = certificate.not_after
    return daily if ends is None or ends <= now else min(daily, ends)
