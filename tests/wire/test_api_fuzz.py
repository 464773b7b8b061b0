"""Whatever the internal interface is asked, it answers as its own document says."""

import string
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import quote

import httpx
import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from certificates import gallery
from client_certificates import passphrase_file
from keyservice.client import ClientCertificateRequest, Mailbox, OperatorClient
from keyservice.operator_wire import BODY_OCTETS_MAX, Problem
from keyservice_process import KeyServiceProcess

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = 60
NEVER_A_SUCCESS = {"POST /v1/peers/{mailbox}/used"}
"""There is no certificate of anybody else here, and the document does not tell how to make one."""

CERTIFICATES = ("alice", "alice_armored", "alice_secret", "bob", "revoked", "expired", "gnupg")

_known = st.sampled_from(
    [
        "alice@example.org",
        "bob@example.org",
        "ALICE@example.org",
        "a/b@example.org",
        "ä@example.org",
    ]
)
_invented = st.builds(
    "{}@{}".format, st.text(min_size=1), st.sampled_from(["example.org", "x.test"])
)
_local = st.builds("{}@example.org".format, st.text(string.ascii_letters + "+=/%.-_", min_size=1))
mailboxes = st.one_of(_known, _known, _local, _invented)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Return a certificate, perhaps with a few octets changed."""
    octets = bytearray(gallery()[draw(st.sampled_from(CERTIFICATES))])
    for at in draw(st.lists(st.integers(0, len(octets) - 1), max_size=2)):
        octets[at] = draw(st.integers(0, 255))
    return bytes(octets[: draw(st.none() | st.integers(0, len(octets)))])


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyServiceProcess]:
    """A key service for example.org that asks nobody for other people's certificates."""
    directory = tmp_path_factory.mktemp("k")
    sections = {"client_ca": {"passphrase_file": str(passphrase_file(directory))}}
    with KeyServiceProcess(directory, tcp=True, sections=sections) as service:
        service.operator.client_certificates.create_authority()
        yield service


def problem_of(reply: httpx.Response | schemathesis.Response) -> Problem | None:
    """Return what an error says; fail if it does not say it in the one shape."""
    if reply.status_code < 400:
        return None
    problem = msgspec.json.decode(reply.content, type=Problem)
    assert problem.error
    assert problem.reason
    return problem


@pytest.mark.timeout(900)
def test_every_reply_is_as_documented(service: KeyServiceProcess) -> None:
    """With arguments after the document and against it, known mailboxes and invented ones."""
    schema = schemathesis.openapi.from_url(f"http://{service.tcp}/schema/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    replies: Counter[tuple[str, bool]] = Counter()
    for operation in operations:
        for mode in GenerationMode:
            with suppress(Unsatisfiable):  # nothing about it can be wrong
                _fuzz(operation, mode, service.tcp, replies)

    for operation in operations:
        if operation.label not in NEVER_A_SUCCESS:
            assert replies[operation.label, True], f"{operation.label}: never a success"
        if operation.path_parameters:
            assert replies[operation.label, False], f"{operation.label}: never an error"
    log = service.log.read_text()
    assert '"event": "failed"' not in log
    assert 200 == httpx.get(f"http://{service.tcp}/health").status_code


def _fuzz(
    operation: schemathesis.APIOperation,  # type: ignore[type-arg]
    mode: GenerationMode,
    address: str,
    replies: Counter[tuple[str, bool]],
) -> None:
    @given(case=operation.as_strategy(generation_mode=mode), data=st.data())
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: schemathesis.Case, data: st.DataObject) -> None:
        if data.draw(st.booleans()):
            _make_sensible(case, OperatorClient(f"http://{address}"))
        else:
            _vary(case, data)
        reply = case.call(base_url=f"http://{address}")
        replies[operation.label, reply.status_code < 400] += 1
        try:
            case.validate_response(reply, checks=CHECKS)
        except FailureGroup as failures:
            raise AssertionError(str(failures)) from None
        problem_of(reply)

    ask()


def _make_sensible(case: schemathesis.Case, operator: OperatorClient) -> None:
    """Ask what a person would, so that more than the checks of arguments is reached."""
    is_peer = case.path.startswith("/v1/peers")
    case.path_parameters["mailbox"] = "bob@elsewhere.example" if is_peer else "alice@example.org"
    case.path_parameters["name"] = "header_policy"
    calls = operator.client_certificates
    if case.path.endswith("/client-certificates"):
        case.body = {}
    elif case.path.startswith("/v1/client-certificates/"):
        issued = calls.issue(Mailbox.parse("alice@example.org"), ClientCertificateRequest())
        case.path_parameters["fingerprint"] = issued.fingerprint
    elif case.path.startswith("/v1/client-cas/"):
        newest = calls.create_authority().authorities[0]
        case.path_parameters["name"] = quote(newest.name)
    if case.media_type == "application/octet-stream":
        case.query.clear()
        case.body = gallery()["alice"]


def _vary(case: schemathesis.Case, data: st.DataObject) -> None:
    """Ask for what is nearly right, or leave it as it was made after the document."""
    if "mailbox" in case.path_parameters and data.draw(st.booleans()):
        case.path_parameters["mailbox"] = quote(data.draw(mailboxes), safe="@")
    if case.media_type == "application/octet-stream" and data.draw(st.booleans()):
        case.body = data.draw(bodies())


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1/", 404),
        ("GET", "/v2/mailboxes", 404),
        ("GET", "/v1/mailboxes/%FF@example.org", 400),
        ("GET", "/v1/mailboxes/%00@example.org", 400),
        ("GET", "/v1/mailboxes?limit=0", 400),
        ("GET", "/v1/mailboxes?limit=501", 400),
        ("GET", "/v1/mailboxes?limit=x", 400),
        ("GET", "/v1/mailboxes?expiring=0", 400),
        ("GET", "/v1/mailboxes?expiring=99999999999999999999", 400),
        ("POST", "/v1/mailboxes", 405),
        ("PATCH", "/v1/mailboxes/alice@example.org", 405),
        ("PUT", "/health", 405),
    ],
)
def test_what_is_not_documented_is_refused_in_the_same_shape(
    service: KeyServiceProcess, method: str, path: str, status: int
) -> None:
    """Paths and methods that are not there, and values beyond their bounds."""
    reply = httpx.request(method, f"http://{service.tcp}{path}")

    assert status == reply.status_code
    assert problem_of(reply)


@pytest.mark.parametrize("size", [BODY_OCTETS_MAX + 1, 10 * BODY_OCTETS_MAX])
@pytest.mark.parametrize("path", ["certificate", "policy"])
def test_a_body_that_is_too_large_is_refused_in_the_same_shape(
    service: KeyServiceProcess, path: str, size: int
) -> None:
    """By its length, or, without one, once it is too long."""
    method = "PUT" if path == "certificate" else "PATCH"
    url = f"http://{service.tcp}/v1/mailboxes/alice@example.org/{path}"
    announced = httpx.request(method, url, content=b" " * size)

    problem = problem_of(announced)

    assert 413 == announced.status_code
    assert problem is not None
    assert "too_large" == problem.error


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff",
        b'{"colour": "red"}',
        b'{"header_policy": 1}',
        b"[" * 9_999,
    ],
)
def test_a_policy_that_is_none_is_refused_in_the_same_shape(
    service: KeyServiceProcess, body: bytes
) -> None:
    """Not JSON, not an object, not a setting, nested without end."""
    url = f"http://{service.tcp}/v1/mailboxes/alice@example.org/policy"
    reply = httpx.patch(url, content=body, headers={"Content-Type": "application/json"})

    assert 400 == reply.status_code
    assert problem_of(reply)
