"""The doctor's rules about the host: each fault alone, named with what to do about it."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from host_tree import PLAIN_DISK, PLAIN_ROOT, host_with
from letterlock.doctor import leftovers, listeners, permissions, signing, surroundings
from letterlock.doctor.keyservice_file import Discovery
from letterlock.doctor.redis_rights import KEYSERVICE, MILTER, Client, Rights, allowed
from letterlock.doctor.surroundings import Proof
from letterlock.postfix_findings import Severity

CONFIG = "/etc/letterlock/letterlock.toml"
HEADER = "Filename\tType\tSize\tUsed\tPriority\n"


@pytest.mark.parametrize(
    ("expected", "files"),
    [
        ([], {"/proc/swaps": HEADER}),
        ([], {}),
        (
            [Severity.BREACH],
            {"/proc/swaps": f"{HEADER}/dev/vda partition 1 0 -2\n", "/dev/vda": "254:0"},
        ),
        ([Severity.BREACH], {"/proc/swaps": f"{HEADER}/swapfile file 1 0 -2\n"}),
        ([Severity.NOTE], {"/proc/swaps": f"{HEADER}/dev/gone partition 1 0 -2\n"}),
        (
            [],
            {
                "/proc/swaps": f"{HEADER}/dev/dm-0 partition 1 0 -2\n",
                "/dev/dm-0": "253:0",
                "/sys/dev/block/253:0/dm/uuid": "CRYPT-PLAIN-swap",
            },
        ),
        (
            [],
            {
                "/proc/swaps": f"{HEADER}/dev/zram0 partition 1 0 100\n",
                "/dev/zram0": "252:0",
                "/sys/dev/block/252:0/mm_stat": "0 0",
                "/sys/dev/block/252:0/backing_dev": "none",
            },
        ),
    ],
)
def test_swap(expected: list[Severity], files: Mapping[str, str], tmp_path: Path) -> None:
    """Encrypted or in memory, or it is named."""
    host = host_with(tmp_path, PLAIN_DISK, {"/proc/self/mountinfo": PLAIN_ROOT}, files)

    assert expected == [finding.severity for finding in leftovers.swap(host, has_mail=True)]


@pytest.mark.parametrize(
    ("expected", "pattern", "dumpable"),
    [
        (0, "core", "0"),
        (1, "core", "2"),
        (1, "|/lib/systemd/systemd-coredump %P", "2"),
        (0, "|/bin/false", "1"),
        (0, "", "1"),
    ],
)
def test_core_dumps_of_postfix(expected: int, pattern: str, dumpable: str, tmp_path: Path) -> None:
    """Its daemons have changed their account: suid_dumpable decides, wherever they would go."""
    files = {"/proc/sys/kernel/core_pattern": pattern, "/proc/sys/fs/suid_dumpable": dumpable}

    assert expected == len(list(leftovers.core_dumps(host_with(tmp_path, files), CONFIG)))


@pytest.mark.parametrize(
    ("expected", "soft", "config"), [(1, "unlimited", CONFIG), (0, "0", CONFIG), (0, "1", "/other")]
)
def test_core_dumps_of_workers(expected: int, soft: str, config: str, tmp_path: Path) -> None:
    """Those of our milter, and of no other."""
    files = {
        "/proc/77/cmdline": f"python\0-m\0letterlock\0--config\0{config}\0--worker\0003\0",
        "/proc/77/limits": f"Limit Soft Hard Units\nMax core file size     {soft}   0   bytes\n",
        "/proc/1/cmdline": "init\0",
    }
    found = list(leftovers.core_dumps(host_with(tmp_path, files), CONFIG))

    assert expected == len(found)


KEYSERVICE_CONFIG = "/etc/letterlock/keyservice.toml"


@pytest.mark.parametrize(
    ("expected", "soft", "command"),
    [
        (1, "unlimited", "python\0-m\0keyservice\0--config\0/etc/letterlock/keyservice.toml"),
        (
            1,
            "1",
            "python\0/usr/bin/letterlock-keyservice\0--config\0/etc/letterlock/keyservice.toml",
        ),
        (0, "0", "python\0-m\0keyservice\0--config\0/etc/letterlock/keyservice.toml"),
        (0, "1", "python\0-m\0keyservice\0--config\0/srv/keyservice.toml"),
        (0, "1", "vi\0/etc/letterlock/keyservice.toml"),
        (0, "1", "letterlock\0doctor\0--keyservice-config\0/etc/letterlock/keyservice.toml"),
    ],
)
def test_core_dumps_of_the_key_service(
    expected: int, soft: str, command: str, tmp_path: Path
) -> None:
    """Not of who edits its settings, nor of the command that looks for them."""
    files = {
        "/proc/77/cmdline": f"{command}\0",
        "/proc/77/limits": f"Limit Soft Hard Units\nMax core file size     {soft}   0   bytes\n",
    }
    found = leftovers.core_dumps_of_keyservice(host_with(tmp_path, files), KEYSERVICE_CONFIG)

    assert expected == len(list(found))


TCP = "  sl  local_address rem_address   st\n"
LISTENING = {
    "127.0.0.1": "   0: 0100007F:272B 00000000:0000 0A\n",
    "0.0.0.0": "   0: 00000000:272B 00000000:0000 0A\n",
    "connected": "   0: 00000000:272B 0100007F:1234 01\n",
}
LISTENING_6 = {
    "::": "   0: 00000000000000000000000000000000:272B 0:0000 0A\n",
    "::1": "   0: 00000000000000000000000001000000:272B 0:0000 0A\n",
    "::ffff:127.0.0.1": "   0: 0000000000000000FFFF00000100007F:272B 0:0000 0A\n",
}


@pytest.mark.parametrize(
    ("expected", "four", "six"),
    [
        ([], "127.0.0.1", ""),
        ([], "127.0.0.1", "::1"),
        ([], "", "::ffff:127.0.0.1"),
        ([Severity.BREACH], "0.0.0.0", ""),
        ([Severity.BREACH], "127.0.0.1", "::"),
        ([Severity.FAULT], "", ""),
        ([Severity.FAULT], "connected", ""),
    ],
)
def test_the_reentry_port(expected: list[Severity], four: str, six: str, tmp_path: Path) -> None:
    """It listens, and on loopback alone."""
    files = {
        "/proc/net/tcp": TCP + LISTENING.get(four, ""),
        "/proc/net/tcp6": TCP + LISTENING_6.get(six, ""),
    }
    listening = listeners.listeners(host_with(tmp_path, files))
    found = listeners.reentry(listening, "127.0.0.1:10027")

    assert expected == [finding.severity for finding in found]


@pytest.mark.parametrize(("expected", "mode"), [(0, 0o600), (0, 0o640), (1, 0o644), (1, 0o602)])
def test_secrets_are_hidden(expected: int, mode: int, tmp_path: Path) -> None:
    """From every account that is not the owner's or in the group."""
    host = host_with(tmp_path, {"/etc/letterlock/cache.key": "s"})
    (tmp_path / "etc/letterlock/cache.key").chmod(mode)
    found = list(permissions.secrets(host, ["/etc/letterlock/cache.key", ""]))

    assert expected == len(found)


def test_a_missing_secret_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    """It is a fault, not a breach: nothing starts."""
    (found,) = permissions.secrets(host_with(tmp_path), ["/etc/letterlock/cache.key"])

    assert Severity.FAULT is found.severity
    assert "openssl rand -hex 32 >/etc/letterlock/cache.key" in found.line


@pytest.mark.parametrize(
    ("expected", "mode", "folder"),
    [(0, 0o644, 0o755), (1, 0o646, 0o755), (1, 0o644, 0o777), (0, 0o644, 0o1777)],
)
def test_settings_that_others_can_change_are_named(
    expected: int, mode: int, folder: int, tmp_path: Path
) -> None:
    """The file, and the directory in which it could be replaced."""
    host = host_with(tmp_path, {CONFIG: ""})
    (tmp_path / CONFIG.lstrip("/")).chmod(mode)
    (tmp_path / CONFIG.lstrip("/")).parent.chmod(folder)

    assert expected == len(list(permissions.settings(host, [CONFIG])))


@pytest.mark.parametrize(
    ("expected", "url", "mode"),
    [
        (1, "unix://letterlock:secret@/run/redis.sock", 0o644),
        (0, "unix://letterlock:secret@/run/redis.sock", 0o640),
        (1, "redis+sentinel://a.test:1,b.test:1/s?sentinel_password=secret", 0o644),
        (0, "unix:///run/redis.sock", 0o644),
    ],
)
def test_a_password_in_the_settings_is_hidden(
    expected: int, url: str, mode: int, tmp_path: Path
) -> None:
    """Without one everybody may read them."""
    host = host_with(tmp_path, {CONFIG: f'[redis]\nurl = "{url}"\n'})
    (tmp_path / CONFIG.lstrip("/")).chmod(mode)

    assert expected == len(list(permissions.passwords(host, [CONFIG])))


@pytest.mark.parametrize(
    ("expected", "rights"),
    [
        ([], Rights()),
        ([Severity.FAULT], Rights(failure="it cannot be reached")),
        ([Severity.FAULT], Rights(denied=("GETRANGE x",))),
        ([Severity.NOTE], Rights(beyond=("CONFIG GET",))),
    ],
)
@pytest.mark.parametrize("client", [MILTER, KEYSERVICE])
def test_redis(expected: list[Severity], rights: Rights, client: Client) -> None:
    """Whose it is, is said; its password is in no finding."""
    url = "redis://milter:secret@127.0.0.1:6379/0?sentinel_password=secret"
    found = list(allowed(client, url, rights))

    assert expected == [finding.severity for finding in found]
    assert all(client.name in finding.what for finding in found)
    assert "secret" not in str(found)


@pytest.mark.parametrize("proof", Proof)
def test_the_resolver(proof: Proof) -> None:
    """One that does not validate is named; without OPENPGPKEY none is needed."""
    expected = proof is not Proof.VALIDATES

    assert expected == bool(list(surroundings.resolver(Discovery(), proof)))
    assert [] == list(surroundings.resolver(Discovery(methods=("wkd",)), proof))


@pytest.mark.parametrize(("expected", "workers"), [(0, (2, 2)), (1, (1, 2)), (1, None)])
def test_a_daemon_and_its_workers(expected: int, workers: tuple[int, int] | None) -> None:
    """All of them, or it is a fault."""
    found = surroundings.page("milter", "127.0.0.1:9464", "letterlock", workers)

    assert expected == len(list(found))


def test_domains_without_a_signing_key_are_named() -> None:
    """With the command that makes one."""
    complaints = {"a.test": "", "b.test": "no active key"}
    (found,) = signing.keys(complaints, complaints.__getitem__)

    assert "letterlock dkim-key generate b.test" in found.line
