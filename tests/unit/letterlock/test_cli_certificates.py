"""`letterlock enrol|withdraw|list|explain|policy`: what the operator types and reads."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from autocrypt_mail import field, five_packets
from certificates import gallery, sequoia
from keyservice.client import PeerClient, Report
from keyservice_process import KeyServiceProcess
from letterlock.cli import main

ALICE = "alice@example.org"


def letterlock(*arguments: str, service: str, stdin: bytes = b"") -> Result:
    """Run the command."""
    return CliRunner(env={"LETTERLOCK_KEYSERVICE": service, "COLUMNS": "160"}).invoke(
        main, arguments, input=stdin, catch_exceptions=False
    )


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real key service for example.org."""
    with KeyServiceProcess(tmp_path_factory.mktemp("k")) as process:
        yield process.url


def test_a_certificate_from_enrolment_to_withdrawal(service: str, tmp_path: Path) -> None:
    """From a file or stdin; each command says what it did."""
    path = tmp_path / "alice.asc"
    path.write_bytes(gallery()["alice_armored"])
    enrolled = letterlock("enrol", ALICE, str(path), "--json", service=service)
    fingerprint = json.loads(enrolled.stdout)["fingerprint"]
    again = letterlock("enrol", ALICE, "-", service=service, stdin=gallery()["alice"])

    listed = letterlock("list", service=service)
    explained = letterlock("explain", ALICE, service=service)
    withdrawn = letterlock("withdraw", ALICE, service=service)

    for result in (enrolled, again, listed, explained, withdrawn):
        assert 0 == result.exit_code
        assert fingerprint in result.stdout
    assert "certificate in use" in explained.stdout
    assert "never plaintext" in explained.stdout
    explanation = json.loads(letterlock("explain", ALICE, "--json", service=service).stdout)
    assert ("not_found", True) == (explanation["outcome"], explanation["had_certificate"])


def test_a_replacement_waits_and_the_operator_can_confirm_it(service: str, tmp_path: Path) -> None:
    """Enrol, list and explain say until when; a fingerprint as programs print it will do."""
    erin = "erin@example.org"
    first, second = (sequoia(erin).certificate for _ in range(2))
    letterlock("enrol", erin, "-", service=service, stdin=first)
    waits = letterlock("enrol", erin, "-", service=service, stdin=second)
    listed = letterlock("list", "--json", service=service)
    explained = letterlock("explain", erin, service=service)
    story = json.loads(letterlock("explain", erin, "--json", service=service).stdout)

    assert 0 == waits.exit_code
    assert " waits\n" in waits.stdout
    assert "--confirmed-fingerprint" in waits.stdout
    (line,) = [one for one in json.loads(listed.stdout) if one["mailbox"] == erin]
    assert line["waits_until"]
    words = " ".join(explained.stdout.split())
    assert "waits until" in words
    assert "unless its owner objects" in words
    number = next(b["fingerprint"] for b in story["bindings"] if b["state"] == "waiting")
    shown = " ".join(number.upper()[at : at + 4] for at in range(0, 40, 4))
    option = ("--confirmed-fingerprint", shown)
    confirmed = letterlock("enrol", erin, "-", *option, service=service, stdin=second)
    assert f"enrolled {number}" in confirmed.stdout
    wrong = letterlock("enrol", erin, "-", *option, service=service, stdin=first)
    assert (1, "") == (wrong.exit_code, wrong.stdout)
    assert "letterlock: refused (other_certificate): " in wrong.stderr
    bad = letterlock("enrol", erin, "-", "--confirmed-fingerprint", "x", service=service)
    assert os.EX_USAGE == bad.exit_code


def test_the_whole_story_of_somebody_elses_mailbox(service: str) -> None:
    """Who said what, at which level, what contradicts it and what Autocrypt says: in words."""
    peer = "frank@example.net"
    reports = PeerClient(service)
    report = Report(
        from_fields=1,
        from_addresses=(peer,),
        received_at=int(time.time()),
        autocrypt_fields=(field(peer, five_packets(peer)),),
    )
    reports.report(report)
    explained = letterlock("explain", peer, service=service)
    words = " ".join(explained.stdout.split())

    assert 0 == explained.exit_code
    assert "A mailbox of somebody else" in words
    assert "the evidence is too weak for a first certificate" in words
    assert "Autocrypt, by its own rules, says available" in words
    assert "autocrypt" in words


@pytest.mark.parametrize(
    ("name", "reason"),
    [("bob", "foreign_mailbox"), ("alice_secret", "secret_key"), ("expired", "expired")],
)
def test_a_refusal_is_one_line_with_the_reason(service: str, name: str, reason: str) -> None:
    """On stderr, exit status 1, nothing on stdout."""
    result = letterlock("enrol", ALICE, "-", service=service, stdin=gallery()[name])

    assert (1, "") == (result.exit_code, result.stdout)
    assert result.stderr.startswith(f"letterlock: refused ({reason}): ")
    assert 1 == len(result.stderr.splitlines())


def test_policy_is_set_shown_and_unset(service: str) -> None:
    """And each setting says who decided it."""
    address = "carol@example.org"
    settings = ("header_policy=hcp_all", "keep_outside=X-Spam-Flag, List-Id")
    changed = letterlock("policy", "set", address, *settings, "--json", service=service)
    shown = letterlock("policy", "show", address, service=service)
    unset = letterlock("policy", "unset", address, "header_policy", "--json", service=service)

    view = json.loads(changed.stdout)
    assert ("hcp_all", ["X-Spam-Flag", "List-Id"]) == (
        view["policy"]["header_policy"],
        view["policy"]["keep_outside"],
    )
    assert "X-Spam-Flag, List-Id" in shown.stdout
    assert "default" == json.loads(unset.stdout)["sources"]["header_policy"]


def test_settings_about_mail_from_it_are_set_alike(service: str) -> None:
    """Numbers and yes or no as one types them; shown beside the others, and in the story."""
    address = "grace@example.org"
    settings = ("outgoing=required", "outgoing_level=3", "copy_to_self=true", "autocrypt=FALSE")
    changed = letterlock("policy", "set", address, *settings, "--json", service=service)
    noted = letterlock("policy", "set", address, "prefer_encrypt=mutual", service=service)
    shown = letterlock("policy", "show", address, service=service)
    unset = letterlock("policy", "unset", address, "outgoing", "--json", service=service)
    story = letterlock("explain", address, service=service)

    view = json.loads(changed.stdout)
    assert ("required", 3, True, False) == tuple(
        view["sender_policy"][name.partition("=")[0]] for name in settings
    )
    assert 5 == view["effective_within"]
    assert "may see the old state for 5 s" in noted.stdout
    assert "Redis" not in noted.stdout
    rows = [line.split() for line in shown.stdout.splitlines()]
    assert ["outgoing_level", "3", "mailbox"] in rows
    assert ["autocrypt", "false", "mailbox"] in rows
    assert ["autocrypt_enrols", "false", "default"] in rows
    assert "when-known" == json.loads(unset.stdout)["sender_policy"]["outgoing"]
    words = " ".join(story.stdout.split())
    assert "encrypted when a certificate is known, from level 3 on" in words
    assert "Autocrypt field off (no certificate for one)" in words


def test_certificates_that_end_soon_are_listed_first_of_all(tmp_path: Path) -> None:
    """By the end of what can be encrypted to: a subkey of one year, in a key of two."""
    with KeyServiceProcess(tmp_path) as process:
        for name, address in (("ending", ALICE), ("bob", "bob@example.org")):
            letterlock("enrol", address, "-", service=process.url, stdin=gallery()[name])
        everything, soon, in_a_year = (
            json.loads(letterlock("list", *words, "--json", service=process.url).stdout)
            for words in ((), ("--expiring",), ("--expiring", "366"))
        )
        shown = letterlock("list", "--expiring=366", service=process.url)
        gauge = [
            process.metric(f'keyservice_certificates_expiring{{within="{days}"}}')
            for days in (3, 14, 60)
        ]

    assert [2, 0] == [len(everything), len(soon)]
    assert [ALICE] == [line["mailbox"] for line in in_a_year]
    assert ALICE in shown.stdout
    assert [0.0, 0.0, 0.0] == gauge


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("withdraw", "nobody"), os.EX_USAGE),
        (("policy", "set", ALICE, "header_policy"), os.EX_USAGE),
        (("policy", "set", ALICE, "colour=red"), os.EX_USAGE),
        (("policy", "unset", ALICE, "colour"), os.EX_USAGE),
        (("policy", "set", ALICE, "copy_to_self=perhaps"), os.EX_USAGE),
        (("policy", "set", ALICE, "outgoing_level=high"), os.EX_USAGE),
        (("policy", "set", ALICE, "outgoing_level=9"), os.EX_USAGE),
        (("policy", "set", ALICE, "outgoing=sometimes"), os.EX_USAGE),
        (("enrol", ALICE, "/nowhere"), os.EX_USAGE),
        (("policy", "set", ALICE, "header_policy=none"), os.EX_USAGE),
        (("policy", "show", "alice@example.net"), 1),
        (("withdraw", "dave@example.org"), 1),
    ],
)
def test_mistakes_have_an_exit_status(
    service: str, arguments: tuple[str, ...], status: int
) -> None:
    """64: the arguments are wrong; 1: the service said no."""
    result = letterlock(*arguments, service=service)

    assert (status, "") == (result.exit_code, result.stdout)
    assert result.stderr


@pytest.mark.parametrize("service_url", ["unix:/nowhere/k.sock", "http://127.0.0.1:1"])
def test_a_service_that_is_not_there_is_status_69(service_url: str) -> None:
    """EX_UNAVAILABLE, one line, no traceback."""
    result = letterlock("list", "--service", service_url, service="")

    assert (69, 1) == (result.exit_code, len(result.stderr.splitlines()))


def test_a_malformed_service_is_a_usage_error() -> None:
    """EX_USAGE."""
    assert 64 == letterlock("list", service="somewhere").exit_code
