"""`letterlock dkim-key` from the first key to the removal of the old one, with a real resolver.

The records in the resolver's zone are what the command printed, comments included.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dkim_mail import signed
from dkim_verifiers import mail_dkim
from letterlock.cli import dkim_keys, main
from letterlock.dkim.keys import KeyDirectory
from letterlock.errors import SigningImpossible
from unbound import Signing, Unbound

DOMAIN = "example.org"
MAIL = b"From: alice@example.org\r\nSubject: news\r\n\r\nHello.\r\n"
WEEK = 7 * 86_400


class Operator:
    """Types commands and publishes what they print."""

    def __init__(self, directory: Path) -> None:
        self.keys = directory / "dkim"
        self._directory = directory
        self._runs = 0

    def types(self, *arguments: str) -> Result:
        """Run `letterlock dkim-key`."""
        environment = {"LETTERLOCK_DKIM_DIRECTORY": str(self.keys), "COLUMNS": "160"}
        command = ("dkim-key", *arguments)
        return CliRunner(env=environment).invoke(main, command, catch_exceptions=False)

    @contextmanager
    def publishes(self, *printed: str) -> Iterator[tuple[str, ...]]:
        """Serve a zone with these texts; yield the option that asks its server."""
        self._runs += 1
        folder = self._directory / f"dns{self._runs}"
        folder.mkdir()
        zones = {DOMAIN: (Signing.NOT, "".join(printed))}
        with Unbound(folder, zones, validating=False) as resolver:
            yield "--nameserver", f"127.0.0.1:{resolver.port}"

    def signs(self) -> bytes:
        """Return a message, signed with the active keys."""
        return signed(MAIL, KeyDirectory(self.keys).signers(DOMAIN), DOMAIN)


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    """One with no keys yet."""
    return Operator(tmp_path)


def test_the_first_keys(operator: Operator) -> None:
    """They are used once their records are seen, and not before."""
    printed = operator.types("generate", DOMAIN)
    assert 0 == printed.exit_code

    with operator.publishes() as resolver:
        early = operator.types("activate", DOMAIN, *resolver)
        assert (1, 1) == (early.exit_code, early.stderr.count("\n"))
        assert "not published; nothing was changed" in early.stderr
        assert early.stdout in printed.stdout
        assert 1 == operator.types("check", *resolver).exit_code
        with pytest.raises(SigningImpossible):
            operator.signs()

    with operator.publishes(printed.stdout) as resolver:
        assert 0 == operator.types("activate", DOMAIN, *resolver).exit_code
        assert 0 == operator.types("check", *resolver).exit_code
        port = int(resolver[1].rpartition(":")[2])
        assert "pass" in mail_dkim(operator.signs(), port).values()


def test_rotation(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    """At no time is mail unsigned, or signed with a key whose record is not there."""
    first = operator.types("generate", DOMAIN).stdout
    with operator.publishes(first) as resolver:
        operator.types("activate", DOMAIN, *resolver)
        before = operator.signs()

        second = operator.types("rotate", DOMAIN).stdout
        assert second == operator.types("rotate", DOMAIN).stdout
        assert 1 == operator.types("activate", DOMAIN, *resolver).exit_code
        assert _selectors(before) == _selectors(operator.signs())
        assert 0 == operator.types("check", *resolver).exit_code

    with operator.publishes(first, second) as resolver:
        activated = operator.types("activate", DOMAIN, *resolver)
        assert "Leave the records of" in activated.stdout
        after = operator.signs()
        assert _selectors(before).isdisjoint(_selectors(after))
        port = int(resolver[1].rpartition(":")[2])
        for message in (before, after):
            assert "pass" in mail_dkim(message, port).values()

        assert "Leave until" in operator.types("remove", DOMAIN).stdout
        assert 4 == len(list(operator.keys.glob("*/*.pem")))

    with operator.publishes(second) as resolver:
        # Too early: mail that is on its way can no longer be verified.
        lacking = operator.types("check", *resolver)
        assert 1 == lacking.exit_code
        assert first.startswith(lacking.stdout.partition("DKIM keys")[0])
        then = int(time.time()) + 2 * WEEK + 60
        monkeypatch.setattr(dkim_keys, "_now", lambda: then)
        assert 0 == operator.types("check", *resolver).exit_code
        removed = operator.types("remove", DOMAIN).stdout
        for selector in _selectors(before):
            assert f"Delete this record: {selector}._domainkey.{DOMAIN}." in removed
        assert 2 == len(list(operator.keys.glob("*/*.pem")))
        assert _selectors(after) == _selectors(operator.signs())


def test_two_name_servers_that_disagree(operator: Operator) -> None:
    """A key is used only when each has its record."""
    printed = operator.types("generate", DOMAIN).stdout
    with operator.publishes(printed) as has, operator.publishes() as lacks:
        assert 1 == operator.types("activate", DOMAIN, *has, *lacks).exit_code
        assert 0 == operator.types("activate", DOMAIN, *has, *has).exit_code


def test_records_of_another_key(operator: Operator, tmp_path: Path) -> None:
    """A record that was mangled, or belongs to another key, activates nothing."""
    printed = operator.types("generate", DOMAIN).stdout
    other = Operator(tmp_path / "other").types("generate", DOMAIN).stdout
    for text in (other, printed.replace("p=", "q="), printed.replace("v=DKIM1; ", "t=y; ")):
        with operator.publishes(text) as resolver:
            refused = operator.types("activate", DOMAIN, *resolver)
            assert (1, 1) == (refused.exit_code, refused.stderr.count("\n"))
            assert 1 == operator.types("check", *resolver).exit_code


def test_a_dns_that_is_silent(operator: Operator) -> None:
    """That is no reason to change anything, and a status of its own."""
    operator.types("generate", DOMAIN)
    with operator.publishes() as resolver:
        pass
    silent = operator.types("activate", DOMAIN, *resolver)
    assert (69, 1) == (silent.exit_code, silent.stderr.count("\n"))
    assert ["new", "new"] == [
        key["state"] for key in json.loads(operator.types("list", "--json").stdout)
    ]


def _selectors(message: bytes) -> set[str]:
    lines = message.split(b"\r\n")
    return {line[3:-1].decode() for line in lines if line.startswith(b" s=")}
