"""Authentication-Results fields (RFC 8601), written and read. The one importer of authres."""

import re
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import authres
from authres.core import AuthenticationResult, AuthenticationResultProperty

from letterlock.authentication.spf_check import Identity, SpfChecked
from letterlock.dkim.arc import Chain, ChainResult
from letterlock.dkim.verification import Checked
from letterlock.message import HeaderField

_NAME = b"Authentication-Results"
_COLUMNS = 76
_B_CHARACTERS = 8
"""RFC 6008 §4: enough to tell signatures apart; they are shown longer if they are not."""

READ_OCTETS_MAX = 8192
"""authres takes quadratic time."""

# RFC 8601 §2.2: what authres leaves unquoted must not need quotes, above all where there is an @.
_NAME_VALUE = re.compile(r"[A-Za-z0-9._-]{1,253}")
_BASE64_VALUE = re.compile(r"[A-Za-z0-9+/=]{1,1024}")
_ADDRESS_VALUE = re.compile(r"(?=.{1,254}\Z)[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9._-]+")


def dkim_results(checked: Iterable[Checked]) -> list[AuthenticationResult]:
    """Return one result for each signature; `none` if there is no signature."""
    checked = tuple(checked)
    if not checked:
        return [AuthenticationResult("dkim", result="none")]
    shown = _distinct([one.claims.b for one in checked])
    return [_dkim_result(one, b) for one, b in zip(checked, shown, strict=True)]


def arc_results(chain: Chain) -> list[AuthenticationResult]:
    """Return the result for the chain, if there is one (RFC 8617 §7)."""
    if chain.result is ChainResult.NONE:
        return []
    properties = []
    if chain.result is ChainResult.PASS:
        properties = [
            *_property("header", "oldest-pass", str(chain.oldest_pass), _NAME_VALUE),
            *_property("header", "as-d", chain.sealer, _NAME_VALUE),
        ]
    return [_result("arc", chain.result.value, chain.fault and chain.fault.text, properties)]


def spf_results(checked: Iterable[SpfChecked]) -> list[AuthenticationResult]:
    """Return one result for each identity."""
    return [_result("spf", one.result.value, None, _identity(one)) for one in checked]


def results_field(authserv_id: str, results: Iterable[AuthenticationResult]) -> HeaderField:
    """Return the field: printable ASCII, folded; `none` if there are no results."""
    texts = [str(result) for result in results] or ["none"]
    lines = [line for text in texts for line in (";", *_lines(text))]
    value = authserv_id + "".join(";" if line == ";" else f"\r\n {line}" for line in lines)
    return HeaderField(_NAME, b" " + value.encode("ascii"))


@dataclass(frozen=True, slots=True)
class ReadResult:
    """One result in a field of somebody else."""

    method: str
    result: str
    properties: Mapping[str, str]
    """By `ptype.property`, lower case; of one that is there twice, the first."""


@dataclass(frozen=True, slots=True)
class ReadField:
    """A field of somebody else."""

    authserv_id: str
    """In lower case."""

    results: tuple[ReadResult, ...]


def read_field(field: HeaderField) -> ReadField | None:
    """Return what the field says; None where that is not clear."""
    if len(field.value) > READ_OCTETS_MAX:
        return None
    try:
        header = authres.AuthenticationResultsHeader.parse_value(field.unfolded.decode("ascii"))
    except (authres.AuthResError, UnicodeError, RecursionError):
        return None  # comments in comments are parsed by recursion
    results = [result for result in header.results if isinstance(result, AuthenticationResult)]
    return ReadField(header.authserv_id, tuple(map(_read_result, results)))


def _read_result(result: AuthenticationResult) -> ReadResult:
    properties: dict[str, str] = {}
    for one in result.properties:
        properties.setdefault(f"{one.type}.{one.name}", str(one.value or ""))
    return ReadResult(result.method, result.result.lower(), properties)


def _dkim_result(checked: Checked, b: str) -> AuthenticationResult:
    reason = checked.fault.text if checked.fault else None
    if not checked.covers_all:
        reason = "part of the body is not signed"
    claims = checked.claims
    properties = [
        *_property("header", "d", claims.domain, _NAME_VALUE),
        *_property("header", "s", claims.selector, _NAME_VALUE),
        *_property("header", "a", claims.algorithm, _NAME_VALUE),
        *_property("header", "b", b, _BASE64_VALUE),
    ]
    return _result("dkim", checked.result.value, reason, properties)


def _identity(checked: SpfChecked) -> list[AuthenticationResultProperty]:
    name = checked.identity.value
    if checked.identity is Identity.MAIL_FROM:
        address = f"{checked.local_part}@{checked.domain}"
        # The local part may be left out (RFC 8601 §2.3), and is where it would need quoting.
        if found := _property("smtp", name, address, _ADDRESS_VALUE):
            return found
    return _property("smtp", name, checked.domain, _NAME_VALUE)


def _result(
    method: str, result: str, reason: str | None, properties: list[AuthenticationResultProperty]
) -> AuthenticationResult:
    return AuthenticationResult(method, result=result, reason=reason, properties=properties)


def _property(
    kind: str, name: str, value: str, form: re.Pattern[str]
) -> list[AuthenticationResultProperty]:
    """Return the property if its value has the form, and none otherwise."""
    return [AuthenticationResultProperty(kind, name, value)] if form.fullmatch(value) else []


def _distinct(values: list[str]) -> list[str]:
    """Return beginnings of `values` that tell them apart, where anything does."""
    length, longest = _B_CHARACTERS, max(map(len, values))
    while length < longest and len({v[:length] for v in values}) < len(set(values)):
        length *= 2
    return [value[:length] for value in values]


def _lines(text: str) -> list[str]:
    # Quoted strings may be folded at their spaces, too (RFC 5322 §3.2.4).
    return textwrap.wrap(text, _COLUMNS, break_long_words=False, break_on_hyphens=False)
