"""The whole examination, with everything that has an effect replaced."""

from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from doctors_cases import MAIL_HOST, REDIS, SETTINGS, places, probes
from keyservice.client import Outcome
from letterlock.doctor.accounts import NotPossible
from letterlock.doctor.examination import examine
from letterlock.doctor.milter_greeting import Way, reachable, ways
from letterlock.doctor.redis_rights import Rights
from letterlock.doctor.surroundings import Proof
from letterlock.postfix import Settings
from letterlock.postfix_findings import Expected, Severity


@pytest.mark.parametrize(
    ("where", "change"),
    [
        ("unix:letterlock/milter.sock", {"greet": lambda _way, _settings: "refused"}),
        (REDIS, {"ask_redis": lambda _client, _url: Rights("gone")}),
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

    assert where not in places(MAIL_HOST, well)
    assert where in places(MAIL_HOST, replace(well, **change))  # type: ignore[arg-type]  # by name


def test_the_worst_comes_first(tmp_path: Path) -> None:
    """Breaches, then faults, then notes."""
    found = [f.severity for f in examine(MAIL_HOST, replace(probes(tmp_path), page=lambda _: None))]

    assert sorted(found, key=list(Severity).index) == found
    assert set(Severity) == set(found)


def test_a_key_service_elsewhere_is_not_looked_for_here(tmp_path: Path) -> None:
    """Only asked whether it answers."""
    elsewhere = replace(MAIL_HOST, keyservice=None)
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

    def refuse(*_: object) -> NoReturn:
        raise NotPossible("run it as root")

    names = ("ask_redis", "lookup", "signing_complaint", "tables_complaint")
    well = probes(tmp_path)
    none = {(f.where, f.severity) for f in examine(MAIL_HOST, well)}
    found = {
        (f.where, f.severity)
        for f in examine(MAIL_HOST, replace(well, **dict.fromkeys(names, refuse)))  # type: ignore[arg-type]  # by name
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
