"""From the header section of a message to what is known about it at its end."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from keyservice.client import VerifiedSignature
from letterlock.authentication.checks import Checks, Subject
from letterlock.authentication.forged import forged_fields
from letterlock.authentication.trusted import read_trusted, spam_verdict, verified
from letterlock.config import AuthenticationSection
from letterlock.dkim.body_hash import BodyHasher
from letterlock.dns_questions import Deadline, Questions
from letterlock.message import HeaderField, HeaderSection
from letterlock.smtp_client import SMTPClient


@dataclass(frozen=True, slots=True)
class Findings:
    """What is known about a message in the end."""

    field: HeaderField | None
    """Authentication-Results, to be put on top; None if there is nothing to add."""

    forged: frozenset[int]
    """Indexes of the fields that carry our authserv-id and are not ours: they must go."""

    signatures: tuple[VerifiedSignature, ...]
    """Those that verified, here or at a filter that is trusted."""

    is_spam: bool | None
    """None: nobody said anything."""


class Inquiry:
    """What is being found out about one message. Raises nothing because of it."""

    def __init__(self, authserv_id: str, checks: Checks, known: Findings) -> None:
        """`known` is what does not depend on `checks`."""
        self._authserv_id = authserv_id
        self._checks = checks
        self._known = known
        self._hasher = BodyHasher(checks.wants) if checks.wants else None

    @property
    def needs_body(self) -> bool:
        """Whether the findings can still depend on the body."""
        return self._hasher is not None

    def write(self, chunk: bytes) -> None:
        """Take the next octets of the body."""
        if self._hasher is not None:
            self._hasher.write(chunk)

    def close(self) -> Findings:
        """Return the findings; the body has ended. Asks nobody anything. To be called once."""
        if self._hasher is not None:
            self._hasher.close()
            self._checks = self._checks.after_body(self._hasher)
        return replace(
            self._known,
            field=self._checks.field(self._authserv_id),
            signatures=(*self._known.signatures, *map(verified, self._checks.verified)),
        )


class Authenticator:
    """Any thread may call it."""

    def __init__(
        self,
        authserv_id: str,
        section: AuthenticationSection,
        questions: Questions | None,
        clock: Callable[[], float],
    ) -> None:
        """`questions`: None where nothing is checked here. `clock`: seconds since 1970."""
        self._authserv_id = authserv_id
        self._section = section
        self._questions = questions
        self._clock = clock

    def begin(self, client: SMTPClient, reverse_path: str, section: HeaderSection) -> Inquiry:
        """Find out all that needs no body. Asks the DNS, until the deadline."""
        now = self._clock()
        trusted = read_trusted(section, self._section.trusted, now)
        checks = Checks()
        if self._questions is not None:
            subject = Subject(client, reverse_path, section)
            deadline = Deadline.after(self._section.deadline_seconds)
            checks = Checks.of(subject, self._questions, deadline, now, trusted.methods)
        known = Findings(
            None,
            forged_fields(section, self._authserv_id) - trusted.indexes,
            trusted.signatures,
            self._is_spam(section),
        )
        return Inquiry(self._authserv_id, checks, known)

    def _is_spam(self, section: HeaderSection) -> bool | None:
        verdict = spam_verdict(section, self._section.spam_field)
        return False if verdict is None and not self._section.unjudged_is_spam else verdict
