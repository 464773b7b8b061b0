"""SPF (RFC 7208): whether the client may send for the domains it names. pyspf's one importer."""

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Literal

import idna
import spf

from letterlock.dns_questions import Deadline, DnsUnavailable, Questions
from letterlock.smtp_client import SMTPClient

_VOID_LOOKUPS_MAX = 2
"""RFC 7208 §4.6.4."""

_PTR_NAMES_MAX = 10
"""Ibid."""


class SpfResult(Enum):
    """RFC 8601 §2.7.2."""

    NONE = "none"
    NEUTRAL = "neutral"
    PASS = "pass"  # noqa: S105 (a result)
    FAIL = "fail"
    SOFTFAIL = "softfail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class Identity(Enum):
    """What the client said that was checked."""

    MAIL_FROM = "mailfrom"
    HELO = "helo"


@dataclass(frozen=True, slots=True)
class SpfChecked:
    """One identity, and what its domain says of the client."""

    identity: Identity
    result: SpfResult
    domain: str
    """Lower case, A-labels."""

    local_part: str = ""
    """As it came; nothing where there is none."""


def check_spf(
    client: SMTPClient, reverse_path: str, questions: Questions, deadline: Deadline
) -> tuple[SpfChecked, ...]:
    """Return what is known of each identity. Raises nothing.

    Nothing is known of mail that came from this host itself (sendmail(1), loopback).
    """
    address = _address(client.address)
    if address is None:
        return ()
    ask = _Asking(address, questions, deadline)
    helo = _domain(client.helo)
    checked = []
    if reverse_path:
        local_part, _, domain = reverse_path.rpartition("@")
        name = _domain(domain)
        if name:
            result = ask.result(local_part, name, helo)
            checked.append(SpfChecked(Identity.MAIL_FROM, result, name, local_part))
    # RFC 7208 §2.3; for the null reverse-path it is the only one (§2.4).
    if helo:
        checked.append(SpfChecked(Identity.HELO, ask.result("", helo, helo), helo))
    return tuple(checked)


class _Asking:
    def __init__(
        self, address: IPv4Address | IPv6Address, questions: Questions, deadline: Deadline
    ) -> None:
        self._address = str(address)
        self._questions = questions
        self._deadline = deadline

    def result(self, local_part: str, domain: str, helo: str) -> SpfResult:
        sender = f"{local_part or 'postmaster'}@{domain}"  # §4.3
        try:
            query = _Query(
                self._address, sender, helo or "unknown", self._questions, self._deadline
            )
            # pyspf cuts at the first @, a quoted local part may have several.
            query.l, query.o, query.d = local_part or "postmaster", domain, domain
            return SpfResult(query.check()[0])
        except Exception:  # noqa: BLE001 (pyspf's own errors: nothing a stranger's record may cause)
            return SpfResult.PERMERROR


class _Query(spf.query):  # type: ignore[misc]  # pyspf has no types
    """pyspf's evaluation, with all of its questions asked through ours."""

    def __init__(
        self, address: str, sender: str, helo: str, questions: Questions, deadline: Deadline
    ) -> None:
        super().__init__(i=address, s=sender, h=helo)
        self._questions = questions
        self._deadline = deadline

    def dns(
        self, name: str, qtype: str, cnames: object = None, ignore_void: bool = False
    ) -> list[Any]:
        """Return records of pyspf's form; our resolver has followed the aliases."""
        try:
            records = self._records(str(name), qtype)
        except DnsUnavailable as unavailable:
            raise spf.TempError(str(unavailable)) from None
        if not records and not ignore_void:
            self.void_lookups += 1
            if self.void_lookups > _VOID_LOOKUPS_MAX:
                raise spf.PermError("too many void lookups")
        return records

    def _records(self, name: str, qtype: str) -> list[Any]:
        match qtype:
            case "TXT":
                return [(record,) for record in self._questions.txt(name, self._deadline)]
            case "A" | "AAAA":
                version: Literal[4, 6] = 4 if qtype == "A" else 6
                return list(self._questions.addresses(name, version, self._deadline))
            case "MX":
                return list(self._questions.mx(name, self._deadline))
            case "PTR":
                return list(self._questions.ptr(name, self._deadline))
            case _:
                raise spf.PermError("no such question")

    def validated_ptrs(self) -> list[str]:
        """Return the names that point back; what cannot be asked does not (§5.5)."""
        try:
            names = self.dns_ptr(self.i)[:_PTR_NAMES_MAX]
        except spf.TempError:
            return []
        return [name for name in names if self._points_back(name)]

    def _points_back(self, name: str) -> bool:
        try:
            return bool(self.cidrmatch(self.dns_a(name, self.A), self.cidrmax))
        except spf.TempError:
            return False

    def get_explanation(self, spec: str) -> None:
        """Nobody reads it: a question less, and no stranger's text (§6.2)."""


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return None if address.is_loopback or address.is_unspecified else address


def _domain(text: str) -> str:
    """Return the name with A-labels; nothing if it is none of several labels (RFC 7208 §4.3)."""
    text = text.removesuffix(".").lower()
    try:
        name = text if text.isascii() else idna.encode(text).decode()
    except (UnicodeError, idna.IDNAError):
        return ""
    return name if _is_name(name) else ""


def _is_name(text: str) -> bool:
    labels = text.split(".")
    return (
        len(text) <= 253
        and len(labels) > 1
        and not labels[-1].isdecimal()
        and all(
            0 < len(label) <= 63 and label.replace("-", "").replace("_", "").isalnum()
            for label in labels
        )
    )
