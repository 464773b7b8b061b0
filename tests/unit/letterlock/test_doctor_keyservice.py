"""The examination of a key service: on a host of its own, and beside a milter."""

from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import msgspec
import pytest

from doctors_cases import KEYSERVICE, MAIL_HOST, REDIS, SECRETS, places, probes
from host_tree import PLAIN_DISK, host_with
from keyservice.client import Outcome
from keyservice.config import Config
from letterlock.doctor.accounts import NotPossible
from letterlock.doctor.examination import examine
from letterlock.doctor.keyservice_file import Discovery, KeyServiceFile, Redis
from letterlock.doctor.keyservice_rules import KeyService
from letterlock.doctor.probes import Probes
from letterlock.doctor.redis_rights import Client, Rights
from letterlock.doctor.report import Spool, as_metrics
from letterlock.doctor.surroundings import Proof
from letterlock.postfix_findings import Severity

SOCKETS = ("/run/letterlock/keyservice.sock", "/run/letterlock/public.sock")


def hosts_files(directory: Path) -> Probes:
    """Everything answers; the key service's files are those of a host in order."""
    files = {f"/etc/letterlock/{name}": "s" for name in SECRETS} | {KEYSERVICE.path: ""}
    host = host_with(directory, files, dict.fromkeys(SOCKETS, ""))
    for name in (*files, *SOCKETS):
        (directory / name.lstrip("/")).chmod(0o640)
    return replace(probes(directory), host=host)


def test_a_host_with_only_a_key_service_in_order(tmp_path: Path) -> None:
    """Nothing is missed of what only a mail host has."""
    assert [] == examine(KEYSERVICE, hosts_files(tmp_path))


@pytest.mark.parametrize(
    ("where", "change"),
    [
        (REDIS, {"ask_redis": lambda _client, _url: Rights(denied=("SET letterlock:answer",))}),
        ("key service", {"lookup": lambda _service, _domain: Outcome.UNAVAILABLE}),
        ("key service", {"page": lambda _: None}),
        ("resolver 127.0.0.1:53", {"prove": lambda _: Proof.NO_DNSSEC}),
    ],
)
def test_each_probe_of_a_key_service_is_asked(
    where: str, change: dict[str, object], tmp_path: Path
) -> None:
    """And none of a milter, of Postfix or of its tables."""

    def forbidden(*_: object) -> NoReturn:
        raise AssertionError("asked of a host without mail")

    of_mail = ("greet", "signing_complaint", "tables_complaint", "dns_complaint")
    well = replace(hosts_files(tmp_path), **dict.fromkeys(of_mail, forbidden))  # type: ignore[arg-type]  # by name

    assert {where} == places(KEYSERVICE, replace(well, **change))  # type: ignore[arg-type]  # by name


@pytest.mark.parametrize(
    ("severity", "name", "mode"),
    [
        *((Severity.BREACH, f"/etc/letterlock/{name}", 0o644) for name in SECRETS),
        (Severity.BREACH, KEYSERVICE.path, 0o666),
        (Severity.BREACH, SOCKETS[0], 0o666),
        (Severity.FAULT, SOCKETS[1], 0o666),
    ],
)
def test_permissions_of_a_key_service(
    severity: Severity, name: str, mode: int, tmp_path: Path
) -> None:
    """Its secrets, its settings, its sockets."""
    with_probes = hosts_files(tmp_path)
    (tmp_path / name.lstrip("/")).chmod(mode)

    assert [(severity, name)] == [(f.severity, f.where) for f in examine(KEYSERVICE, with_probes)]


@pytest.mark.parametrize("port", [8465, 8466, 9465])
def test_ports_of_a_key_service_are_for_its_host(port: int, tmp_path: Path) -> None:
    """That of its page, its own and the public one."""
    with_probes = hosts_files(tmp_path)
    host_with(tmp_path, {"/proc/net/tcp": f"sl\n 0: 00000000:{port:04X} 00000000:0000 0A\n"})

    assert {f"port {port}"} == places(KEYSERVICE, with_probes)


def test_swap_where_there_is_no_mail_is_to_be_looked_at(tmp_path: Path) -> None:
    """A breach beside Postfix, a note beside a key service that its unit keeps from there."""
    with_probes = hosts_files(tmp_path)
    host_with(
        tmp_path,
        PLAIN_DISK,
        {"/proc/swaps": "Filename\n/dev/vda partition 1 0 -2\n", "/dev/vda": "254:0"},
    )

    for case, severity in ((KEYSERVICE, Severity.NOTE), (MAIL_HOST, Severity.BREACH)):
        found = examine(case, with_probes)
        assert [severity] == [f.severity for f in found if f.where == "/dev/vda"]


def test_a_key_service_without_redis_needs_nothing_of_it(tmp_path: Path) -> None:
    """Neither an answer nor the secret that would sign what is in it."""
    without = KeyServiceFile(redis=Redis(url=""), discovery=Discovery(methods=()))
    with_probes = replace(
        hosts_files(tmp_path),
        ask_redis=lambda _client, _url: Rights("gone"),
        prove=lambda _: Proof.SILENT,
    )
    (tmp_path / "etc/letterlock/cache.key").unlink()

    assert [] == examine(KeyService(without, KEYSERVICE.path), with_probes)


def test_both_daemons_are_asked_for_in_redis(tmp_path: Path) -> None:
    """Each with its own account."""
    asked: list[str] = []

    def ask(client: Client, _url: str) -> Rights:
        asked.append(client.account)
        return Rights()

    examine(MAIL_HOST, replace(probes(tmp_path), ask_redis=ask))

    assert ["letterlock", "letterlock-keyservice"] == asked


def test_what_two_rules_find_is_said_once(tmp_path: Path) -> None:
    """A secret that both daemons have, and the directory of their settings."""
    with_probes = hosts_files(tmp_path)
    (tmp_path / "etc/letterlock").chmod(0o777)
    (tmp_path / "etc/letterlock/cache.key").chmod(0o644)
    found = [finding.where for finding in examine(MAIL_HOST, with_probes)]

    assert 1 == found.count("/etc/letterlock")
    assert 1 == found.count("/etc/letterlock/cache.key")


@pytest.mark.parametrize(
    ("numbers", "spool"),
    [
        (2, None),
        (4, Spool(is_encrypted=True, orphans=())),
    ],
)
def test_no_numbers_of_a_queue_that_is_not_there(numbers: int, spool: Spool | None) -> None:
    """Rather than ones that are wrong."""
    names = {metric.name for metric in as_metrics([], spool).collect()}

    assert numbers == len(names)
    assert ("letterlock_spool_encrypted" in names) == (spool is not None)


def test_the_doctor_takes_for_granted_what_the_key_service_does() -> None:
    """What is not written in its settings means the same to both."""
    taken = msgspec.to_builtins(KeyServiceFile())
    own = msgspec.to_builtins(Config())

    assert taken == {
        name: {key: own[name][key] for key in value} if isinstance(value, dict) else own[name]
        for name, value in taken.items()
    }


def test_what_only_its_account_can_tell_is_a_note_for_others(tmp_path: Path) -> None:
    """Who is not root is told of no fault of a key service that there is none of."""

    def refuse(*_: object) -> NoReturn:
        raise NotPossible("run it as root")

    found = examine(KEYSERVICE, replace(hosts_files(tmp_path), ask_redis=refuse, lookup=refuse))

    assert [("Redis", Severity.NOTE), ("key service", Severity.NOTE)] == [
        (finding.where, finding.severity) for finding in found
    ]
