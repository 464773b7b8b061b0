"""The public listener as the drafts have it, asked by a stranger."""

import json
import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certificates import ALICE, gallery, revoked, sequoia
from keyservice.armor import dearmor
from keyservice.certificate import RejectedCertificate
from keyservice.keymaterial import created
from keyservice.mailbox import Mailbox
from keyservice.packets import USER_ID, components, fingerprint, split
from keyservice.public.results import Protocol, Result
from keyservice.wkd_name import hashed_local_part
from public_listener import PublicService, public_service

WELL_KNOWN = "/.well-known/openpgpkey"
NOON = 1_800_000_000.0
"""No minute ends between two questions."""

HIDDEN = Mailbox.parse("hidden@example.org")
ODD = ["a/b@example.org", "a%2Fb@example.org", "a+b=c&d@example.org", "ä@example.org"]
NO_CERTIFICATE = {
    "error": "no_such_path",
    "reason": "no certificate is published under this name",
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicService]:
    """One that publishes Alice, Carol (revoked), and people with odd names."""
    with public_service(
        tmp_path_factory.mktemp("public"), is_published=lambda mailbox: mailbox != HIDDEN
    ) as service:
        service.enrol("alice@example.org", gallery()["two_user_ids"])
        service.enrol("hidden@example.org", sequoia("hidden@example.org").certificate)
        carol = sequoia("carol@example.org")
        service.enrol("carol@example.org", carol.certificate)
        with pytest.raises(RejectedCertificate, match="revoked"):
            service.enrol("carol@example.org", revoked(carol))
        for address in ODD:
            service.enrol(address, sequoia(address).certificate)
        yield service


@pytest.fixture
def http(service: PublicService) -> Iterator[httpx.Client]:
    """A stranger."""
    with httpx.Client(base_url=service.url) as client:
        yield client


@pytest.fixture
def written() -> Iterator[list[logging.LogRecord]]:
    """What reaches the root logger, where the service's log is written, at any level.

    Not `caplog`: it listens to loggers whose records go nowhere, too.
    """
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    root = logging.getLogger()
    old_level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield records
    root.setLevel(old_level)
    root.removeHandler(handler)


@pytest.fixture(scope="module")
def alice() -> str:
    """The fingerprint of Alice's certificate."""
    return identity(gallery()["two_user_ids"])


def identity(octets: bytes) -> str:
    """Return the fingerprint of a certificate."""
    return fingerprint(split(octets)[0])


def user_ids(octets: bytes) -> list[str]:
    """Return the user IDs of a certificate."""
    return [c.packet.body.decode() for c in components(split(octets)) if c.packet.tag == USER_ID]


def advanced(local_part: str, domain: str = "example.org") -> str:
    """Return the path of the advanced method, with the `l` that clients add."""
    hashed = hashed_local_part(local_part)
    return f"{WELL_KNOWN}/{domain}/hu/{hashed}?l={quote(local_part)}"


def test_the_directory_has_binary_certificates(http: httpx.Client, alice: str) -> None:
    """draft-koch §3.1: not armored, only the user ID that was asked for, readable by web pages."""
    reply = http.get(advanced("alice"))

    assert 200 == reply.status_code
    assert "application/octet-stream" == reply.headers["content-type"]
    assert "*" == reply.headers["access-control-allow-origin"]
    assert "no-store" == reply.headers["cache-control"]
    assert (alice, [ALICE]) == (identity(reply.content), user_ids(reply.content))


def test_both_methods_and_any_l_give_the_same(http: httpx.Client) -> None:
    """The direct method is about the host that was asked; the hash alone decides."""
    direct = f"{WELL_KNOWN}/hu/{hashed_local_part('Alice')}"
    expected = http.get(advanced("alice")).content

    for path in (f"{direct}?l=Alice", f"{direct}?l=bob", direct):
        for host in ("example.org", "EXAMPLE.org:443"):
            assert expected == http.get(path, headers={"Host": host}).content
    assert expected == http.get(advanced("ALICE", "Example.ORG")).content


def test_head_is_get_without_its_body(http: httpx.Client) -> None:
    """The same header section, found or not."""
    for path in (advanced("alice"), advanced("nobody"), f"{WELL_KNOWN}/example.org/policy"):
        head, get = http.head(path), http.get(path)
        for reply in (head, get):
            del reply.headers["date"]

        assert b"" == head.content
        assert (get.status_code, get.headers) == (head.status_code, head.headers)


def test_the_policy_file_exists_and_is_empty(http: httpx.Client) -> None:
    """§4.5, for each domain that is served; there is no submission address yet."""
    for path in (f"{WELL_KNOWN}/example.org/policy", f"{WELL_KNOWN}/policy"):
        reply = http.get(path, headers={"Host": "example.org"})
        assert (200, b"", "text/plain") == (
            reply.status_code,
            reply.content,
            reply.headers["content-type"].partition(";")[0],
        )
    assert 404 == http.get(f"{WELL_KNOWN}/example.net/policy").status_code
    assert 404 == http.get(f"{WELL_KNOWN}/policy").status_code
    assert 404 == http.get(f"{WELL_KNOWN}/example.org/submission-address").status_code


@pytest.mark.parametrize(
    "path",
    [
        advanced("nobody"),
        advanced("hidden"),
        advanced("alice", "example.net"),
        advanced("alice", "127.0.0.1"),
        advanced("alice", "a..b"),
        f"{WELL_KNOWN}/example.org/hu/alice",
        f"{WELL_KNOWN}/example.org/hu/{hashed_local_part('alice').upper()}",
        f"{WELL_KNOWN}/hu/{hashed_local_part('alice')}",
        "/pks/lookup?op=get&search=hidden@example.org",
        "/pks/lookup?op=index&options=mr&search=nobody@example.org",
        "/pks/lookup?op=index&search=alice",
        "/pks/lookup?op=index&search=example.org",
        "/pks/lookup?op=get&search=0x7a1c423a",
        "/pks/lookup?op=get&search=0x",
        "/pks/lookup?op=get&search=alice@example.org,carol@example.org",
        "/vks/v1/by-email/hidden%40example.org",
        "/vks/v1/by-email/alice",
        f"/vks/v1/by-fingerprint/{'AB' * 20}",
        f"/vks/v1/by-fingerprint/{'AB' * 8}",
        f"/vks/v1/by-keyid/{'AB' * 8}",
        f"/vks/v1/by-keyid/{'AB' * 20}",
    ],
)
def test_every_no_looks_the_same(http: httpx.Client, path: str) -> None:
    """Unknown, unpublished, elsewhere, malformed: nobody can tell which it is."""
    reply = http.get(path)

    assert (404, NO_CERTIFICATE) == (reply.status_code, reply.json())
    assert "*" == reply.headers["access-control-allow-origin"]


@pytest.mark.parametrize("search", ["alice@example.org", "<Alice@EXAMPLE.org>", ALICE])
@pytest.mark.parametrize("options", ["", "&options=mr", "&options=mr,nm&exact=on&fingerprint=on"])
def test_the_keyserver_gives_armor(http: httpx.Client, search: str, options: str) -> None:
    """For a whole mailbox, in whatever dress it comes."""
    reply = http.get(f"/pks/lookup?op=get&search={quote(search)}{options}")

    assert (200, "application/pgp-keys") == (reply.status_code, reply.headers["content-type"])
    assert http.get(advanced("alice")).content == dearmor(reply.content)


def test_the_keyserver_gives_by_number(http: httpx.Client, alice: str) -> None:
    """Fingerprint or 64-bit key ID, in either case."""
    expected = http.get("/pks/lookup?op=get&search=alice@example.org").content

    for number in (alice, alice.upper(), alice[-16:]):
        assert expected == http.get(f"/pks/lookup?op=get&search=0x{number}").content


@pytest.mark.parametrize("operation", ["index", "vindex"])
def test_the_index_is_exact(http: httpx.Client, alice: str, operation: str) -> None:
    """draft-ietf-openpgp-hkp, machine-readable index."""
    reply = http.get(f"/pks/lookup?op={operation}&options=mr&search=alice@example.org")
    made_at = created(split(gallery()["two_user_ids"])[0])

    assert "text/plain" == reply.headers["content-type"].partition(";")[0]
    assert [
        "info:1:1",
        f"pub:{alice.upper()}:22:255:{made_at}::",
        f"uid:Alice%20%3Calice%40example.org%3E:{made_at}::",
        "",
    ] == reply.text.split("\n")


def test_revocations_are_shown_everywhere(http: httpx.Client) -> None:
    """With the flag in an index."""
    index = http.get("/pks/lookup?op=index&options=mr&search=carol@example.org").text
    by_email = http.get("/vks/v1/by-email/carol%40example.org").content

    assert ["r", "r"] == [line.rpartition(":")[2] for line in index.splitlines()[1:]]
    assert 2 == len(components(split(dearmor(by_email)))[0].signatures)
    assert dearmor(by_email) == http.get(advanced("carol")).content


def test_the_keyserver_takes_nothing(http: httpx.Client) -> None:
    """No upload by any protocol; what it cannot do it says."""
    assert 501 == http.post("/pks/add", data={"keytext": "x"}).status_code
    assert 501 == http.get("/pks/lookup?op=stats&search=x").status_code
    assert 400 == http.get("/pks/lookup?op=get").status_code
    assert 404 == http.post("/vks/v1/upload", json={"keytext": "x"}).status_code
    assert 405 == http.put(advanced("alice"), content=b"x").status_code
    assert 405 == http.delete("/vks/v1/by-email/alice%40example.org").status_code


def test_vks_gives_by_each_name(http: httpx.Client, alice: str) -> None:
    """As keys.openpgp.org does."""
    names = ["by-email/alice%40example.org", f"by-fingerprint/{alice.upper()}"]
    names.append(f"by-keyid/{alice[-16:].upper()}")

    for name in names:
        reply = http.get(f"/vks/v1/{name}")
        assert (200, "application/pgp-keys") == (reply.status_code, reply.headers["content-type"])
        assert http.get(advanced("alice")).content == dearmor(reply.content)


@pytest.mark.parametrize("address", ODD)
def test_every_local_part_can_be_asked_for(http: httpx.Client, address: str) -> None:
    """Slashes, percent signs and 8-bit characters included."""
    expected = [address]

    by_hash = http.get(advanced(address.rpartition("@")[0]))
    by_email = http.get(f"/vks/v1/by-email/{quote(address, safe='')}")
    by_search = http.get("/pks/lookup", params={"op": "get", "search": address})
    by_address = http.get("/", params={"address": address}).json()

    assert expected == user_ids(by_hash.content)
    assert expected == user_ids(dearmor(by_email.content))
    assert expected == user_ids(dearmor(by_search.content))
    assert expected == user_ids(dearmor(by_address["openpgp"].encode()))


def test_nicknym_answers_in_json(http: httpx.Client, alice: str) -> None:
    """By GET and POST, by address and fingerprint."""
    expected = http.get("/vks/v1/by-email/alice%40example.org").text
    by_address = {"address": "alice@example.org"}
    by_fingerprint = {"fingerprint": alice}

    for question in (by_address, by_fingerprint):
        for reply in (http.get("/", params=question), http.post("/", data=question)):
            assert (200, question | {"openpgp": expected}) == (reply.status_code, reply.json())


@pytest.mark.parametrize("address", ["nobody@example.org", "hidden@example.org", "example.org"])
def test_nicknym_says_no_in_json(http: httpx.Client, address: str) -> None:
    """There is no provider key either."""
    reply = http.post("/", data={"address": address})

    assert 404 == reply.status_code
    assert {"address": address, "status": 404, "message": NO_CERTIFICATE["reason"]} == reply.json()


def test_nicknym_wants_one_question(http: httpx.Client, alice: str) -> None:
    """Not none, and not two."""
    assert 400 == http.get("/").status_code
    both = {"address": "alice@example.org", "fingerprint": alice}
    assert 400 == http.get("/", params=both).status_code
    assert 413 == http.post("/", content=b"x" * 5_000).status_code


_SEGMENTS = st.text(st.characters(codec="utf-8"), max_size=30)
_PREFIXES = ["/", WELL_KNOWN + "/", "/pks/lookup?op=get&search=", "/vks/v1/by-email/", "/?address="]


@given(st.sampled_from(_PREFIXES), _SEGMENTS, st.booleans())
def test_no_question_is_an_error_of_ours(
    service: PublicService, prefix: str, text: str, is_quoted: bool
) -> None:
    """Whatever is in the path or the query, the reply is a clean no."""
    path = prefix + quote(text, safe="" if is_quoted else "/?&=%")

    with httpx.Client(base_url=service.url) as http:
        assert http.get(path).status_code in {400, 404, 501}


def test_octets_that_are_no_text_are_no_error_of_ours(service: PublicService) -> None:
    """In the path, the query, the body or the host."""
    questions = [
        b"GET /vks/v1/by-email/%ff%00@example.org HTTP/1.1\r\nHost: x\r\n",
        b"GET /?address=%ff HTTP/1.1\r\nHost: x\r\n",
        b"GET " + WELL_KNOWN.encode() + b"/policy HTTP/1.1\r\nHost: \xff\xfe\r\n",
        b"GET " + WELL_KNOWN.encode() + b"/%ff/policy HTTP/1.1\r\nHost: x\r\n",
        b"GET " + WELL_KNOWN.encode() + b"/policy HTTP/1.0\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n",
    ]
    for question in questions:
        with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
            connection.sendall(question + b"Connection: close\r\n\r\naddress=\xff")
            status = connection.makefile("rb").readline()
        assert status.split()[1] in {b"400", b"404"}, (question, status)


def test_nothing_that_was_asked_is_written_down(
    service: PublicService, http: httpx.Client, written: list[logging.LogRecord]
) -> None:
    """Neither in the log, at any level, nor in a metric; not even when a request fails."""
    for path in (advanced("alice"), "/?address=alice@example.org", "/pks/lookup?op=x&search=alice"):
        http.get(path)
    # The client's own log is the client's.
    ours = [r for r in written if not r.name.startswith(("httpx", "httpcore"))]

    assert len(ours) < len(written)
    assert "alice" not in " ".join(record.getMessage() for record in ours)
    samples = [s for metric in service.registry.collect() for s in metric.samples]
    published = [s.labels for s in samples if s.name == "keyservice_published_total"]
    assert {(p.value, r.value) for p in Protocol for r in Result} == {
        (labels["protocol"], labels["result"]) for labels in published
    }


def test_each_reply_is_counted(service: PublicService, http: httpx.Client) -> None:
    """By protocol and result; a policy file is no lookup."""
    questions = [
        ("wkd", "found", advanced("alice")),
        ("wkd", "not_found", advanced("nobody")),
        ("hkp", "refused", "/pks/lookup?op=stats&search=x"),
        ("vks", "found", "/vks/v1/by-email/alice%40example.org"),
        ("nicknym", "refused", "/"),
    ]
    for protocol, result, path in questions:
        before = service.counted(protocol, result)
        http.get(path)
        assert before + 1 == service.counted(protocol, result)
    before = service.counted("wkd", "found")
    http.get(f"{WELL_KNOWN}/example.org/policy")
    assert before == service.counted("wkd", "found")


def test_who_asks_too_often_is_told_to_wait(tmp_path: Path) -> None:
    """Per client network, the client being whom the operator's proxy says it is."""
    with (
        public_service(
            tmp_path, per_minute=2, address_header="X-Forwarded-For", clock=lambda: NOON
        ) as service,
        httpx.Client(base_url=service.url) as http,
    ):

        def ask(forwarded: str) -> httpx.Response:
            return http.get(advanced("alice"), headers={"X-Forwarded-For": forwarded})

        # What a client claims comes first and does not count.
        replies = [ask(f"198.51.100.{n}, 192.0.2.{n}") for n in range(3)]
        assert [404, 404, 429] == [reply.status_code for reply in replies]
        assert 0 < int(replies[2].headers["retry-after"]) <= 60
        assert "too_many_requests" == json.loads(replies[2].content)["error"]
        assert "*" == replies[2].headers["access-control-allow-origin"]
        assert 404 == ask("203.0.113.1").status_code
        assert 1 == service.counted("wkd", "limited")


def test_an_address_that_nobody_vouches_for_is_not_believed(tmp_path: Path) -> None:
    """Without the option the connection's own address counts, whatever the client writes."""
    with (
        public_service(tmp_path, per_minute=2, clock=lambda: NOON) as service,
        httpx.Client(base_url=service.url) as http,
    ):
        statuses = [
            http.get("/", headers={"X-Forwarded-For": f"192.0.{n}.1"}).status_code for n in range(3)
        ]

    assert [400, 400, 429] == statuses
