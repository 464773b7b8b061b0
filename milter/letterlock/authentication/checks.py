"""The checks of one message that we make ourselves: DKIM, ARC, SPF."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Self

from letterlock.authentication.results import (
    arc_results,
    dkim_results,
    results_field,
    spf_results,
)
from letterlock.authentication.spf_check import SpfChecked, check_spf
from letterlock.dkim.arc import Chain, check_chain
from letterlock.dkim.body_hash import BodyHash, BodyHasher
from letterlock.dkim.faults import Result
from letterlock.dkim.signature import Signature
from letterlock.dkim.signed_header import SignedHeader
from letterlock.dkim.verification import Checked, check_header
from letterlock.dns_questions import Deadline, Questions
from letterlock.message import HeaderField, HeaderSection
from letterlock.smtp_client import SMTPClient

_METHODS = frozenset({"dkim", "arc", "spf"})


@dataclass(frozen=True, slots=True)
class Subject:
    """What is checked."""

    client: SMTPClient
    reverse_path: str
    section: HeaderSection


@dataclass(frozen=True, slots=True)
class Checks:
    """What came of them; None: not made. Final after `after_body`."""

    dkim: tuple[Checked, ...] | None = None
    arc: Chain | None = None
    spf: tuple[SpfChecked, ...] | None = None

    @classmethod
    def of(
        cls,
        subject: Subject,
        questions: Questions,
        deadline: Deadline,
        now: float,
        besides: Collection[str] = (),
    ) -> Self:
        """Make all that needs no body, but those whose methods are in `besides`.

        Raises nothing because of the message.
        """
        section, missing = subject.section, _METHODS.difference(besides)
        header = SignedHeader(section)

        def records(name: str) -> tuple[bytes, ...]:
            return questions.txt(name, deadline)

        return cls(
            check_header(section, header, records, now) if "dkim" in missing else None,
            check_chain(section, header, records, now) if "arc" in missing else None,
            check_spf(subject.client, subject.reverse_path, questions, deadline)
            if "spf" in missing
            else None,
        )

    @property
    def wants(self) -> Collection[BodyHash]:
        """The body hashes that decide."""
        wanted = {body for one in self.dkim or () for body in one.wants}
        return wanted.union(self.arc.wants if self.arc else ())

    def after_body(self, hasher: BodyHasher) -> Self:
        """Return what comes of them in the end; `hasher` is closed and knows what was wanted."""
        return replace(
            self,
            dkim=self.dkim and tuple(one.after_body(hasher) for one in self.dkim),
            arc=self.arc and self.arc.after_body(hasher),
        )

    @property
    def verified(self) -> tuple[Signature, ...]:
        """The signatures that passed."""
        passed = (one.signature for one in self.dkim or () if one.result is Result.PASS)
        return tuple(signature for signature in passed if signature is not None)

    def field(self, authserv_id: str) -> HeaderField | None:
        """Return the Authentication-Results field; None if there is nothing to say."""
        results = [
            *(dkim_results(self.dkim) if self.dkim is not None else ()),
            *(arc_results(self.arc) if self.arc is not None else ()),
            *(spf_results(self.spf) if self.spf is not None else ()),
        ]
        return results_field(authserv_id, results) if results else None
