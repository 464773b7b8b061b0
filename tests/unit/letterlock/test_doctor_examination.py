"""The whole examination, with everything that has an effect replaced."""

from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from host_tree import host_with
from keyservice.client import Outcome
from letterlock.config import Config, SubmissionSection
from letterlock.daemon_page import Page
from letterlock.doctor.accounts import NotPossible
from letterlock.doctor.examination import Case, examine
from letterlock.doctor.keyservice_file import KeyServiceFile
from letterlock.doctor.milter_greeting import Way, reachable, ways
from letterlock.doctor.probes import Probes
from letterlock.doctor.redis_rights import Rights
from letterlock.doctor.surroundings import Proof
from letterlock.postfix import Settings
from letterlock.postfix_findings import Expected, Severity

SETTINGS = Settings.parse(
    "queue_directory = /spool\nmail_owner = postfix\nmydestination = example.test\n"
    "smtpd_milters = unix:letterlock/milter.sock, inet:127.0.0.1:11332\n"
    "non_smtpd_milters = unix:letterlock/milter.sock",
    "\n".join(
        f"{name}/inet/{column} = {value}"
        for name, chroot, program in (("smtp", "y", "smtpd"), ("2525", "n", "smtpd"))
        for column, value in {
            "service": name,
            "type": "inet",
            "chroot": chroot,
            "command": program,
        }.items()
    ),
    "",
)
PAGE = Page.parse("letterlock_workers 2\nletterlock_workers_wanted 2\n")
CASE = Case(
    settings=SETTINGS,
    expected=Expected(),
    config=Config(submission=SubmissionSection(socket="unix:/s")),
    config_path="/etc/letterlock/letterlock.toml",
    keyservice=KeyServiceFile(domains={"example.test": {}}),
    keyservice_path="/etc/letterlock/keyservice.toml",
    service="unix:/run/letterlock/keyservice.sock",
)


def probes(directory: Path) -> Probes:
    """Everything answers; the host itself is an empty directory."""
    return Probes(
        host=host_with(directory),
        greet=lambda _way, _settings: "",
        ask_redis=lambda _: Rights(),
        lookup=lambda _service, _domain: Outcome.NOT_FOUND,
        page=lambda _: PAGE,
        prove=lambda _: Proof.VALIDATES,
        signing_complaint=lambda _directory, _domain: "",
        tables_complaint=lambda _: "",
        dns_complaint=lambda _nameserver, _own: "",
    )


def places(case: Case, with_probes: Probes) -> set[str]:
    """Where something is found."""
    return {finding.where for finding in examine(case, with_probes)}


@pytest.mark.parametrize(
    ("where", "change"),
    [
        ("unix:letterlock/milter.sock", {"greet": lambda _way, _settings: "refused"}),
        ("Redis (unix:///run/redis/redis-server.sock)", {"ask_redis": lambda _: Rights("gone")}),
        ("key service", {"lookup": lambda _service, _domain: Outcome.UNAVAILABLE}),
        ("keyservice.toml", {"lookup": lambda _service, _domain: Outcome.OUTSIDE}),
        ("milter", {"page": lambda _: None}),
        ("resolver 127.0.0.1:53", {"prove": lambda _: Proof.NO_DNSSEC}),
        ("DKIM key of example.test", {"signing_complaint": lambda _directory, _domain: "none"}),
        ("virtual_alias_maps, alias_maps", {"tables_complaint": lambda _: "unreadable"}),
        ("/etc/resolv.conf", {"dns_complaint": lambda _nameserver, _own: "no answer in time"}),
    ],
)
def test_each_probe_is_asked(where: str, change: dict[str, object], tmp_path: Path) -> None:
    """What it says is among the findings, and is not there otherwise."""
    well = probes(tmp_path)

    assert where not in places(CASE, well)
    assert where in places(CASE, replace(well, **change))  # type: ignore[arg-type]  # by name


def test_the_worst_comes_first(tmp_path: Path) -> None:
    """Breaches, then faults, then notes."""
    found = [f.severity for f in examine(CASE, replace(probes(tmp_path), page=lambda _: None))]

    assert sorted(found, key=list(Severity).index) == found
    assert set(Severity) == set(found)


def test_a_key_service_elsewhere_is_not_looked_for_here(tmp_path: Path) -> None:
    """Only asked whether it answers."""
    elsewhere = replace(CASE, keyservice=None)
    with_probes = replace(probes(tmp_path), prove=lambda _: Proof.SILENT)

    assert "resolver 127.0.0.1:53" not in places(elsewhere, with_probes)


def test_the_milter_is_greeted_on_each_way_once() -> None:
    """As smtpd inside the chroot, and as one outside of it; no other milter is."""
    assert [
        Way("unix:letterlock/milter.sock", chrooted=True),
        Way("unix:letterlock/milter.sock", chrooted=False),
    ] == ways(SETTINGS, Expected())


def test_what_only_the_milter_can_tell_is_a_note_for_others(tmp_path: Path) -> None:
    """Who is not root is not told of faults that there are none of."""

    def refuse(*_: str) -> NoReturn:
        raise NotPossible("run it as root")

    names = ("ask_redis", "lookup", "signing_complaint", "tables_complaint")
    well = probes(tmp_path)
    none = {(f.where, f.severity) for f in examine(CASE, well)}
    found = {
        (f.where, f.severity)
        for f in examine(CASE, replace(well, **dict.fromkeys(names, refuse)))  # type: ignore[arg-type]  # by name
    }

    assert {
        (where, Severity.NOTE)
        for where in ("Redis", "key service", "DKIM keys", "virtual_alias_maps, alias_maps")
    } == found - none


def test_what_cannot_be_tried_is_a_note() -> None:
    """Who is not root is told so, and nothing is taken for wrong."""

    def refuse(_way: Way, _settings: Settings) -> str:
        raise NotPossible("run it as root")

    found = list(reachable(SETTINGS, Expected(), refuse))

    assert {Severity.NOTE} == {finding.severity for finding in found}
    assert "run it as root" in found[0].reason
