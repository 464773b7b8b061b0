"""`letterlock dkim-key`: what an operator reads when something is not right."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from letterlock.cli import main


def dkim_key(directory: Path, *arguments: str) -> Result:
    """Run the command."""
    environment = {"LETTERLOCK_DKIM_DIRECTORY": str(directory), "COLUMNS": "160"}
    return CliRunner(env=environment).invoke(main, ("dkim-key", *arguments), catch_exceptions=False)


def test_what_is_made_is_listed(tmp_path: Path) -> None:
    """For people and for programs; domains in the form that the DNS has."""
    printed = dkim_key(tmp_path, "generate", "Bücher.example")
    domain = "xn--bcher-kva.example"
    assert 0 == printed.exit_code
    assert f"dkim-key activate --directory {tmp_path} {domain}" in printed.stdout
    listed = json.loads(dkim_key(tmp_path, "list", "--json").stdout)
    assert {domain} == {key["domain"] for key in listed}
    assert [("rsa", "new"), ("ed25519", "new")] == [(key["type"], key["state"]) for key in listed]
    assert all(f"{key['record']}. IN TXT (" in printed.stdout for key in listed)
    table = dkim_key(tmp_path, "list", "bücher.example").stdout
    assert all(key["selector"] in table for key in listed)


def test_output_can_be_appended_to_a_zone_file(tmp_path: Path) -> None:
    """What is no record is a comment."""
    for command in ("generate", "rotate"):
        lines = dkim_key(tmp_path, command, "example.org").stdout.splitlines()
        assert all(line[0] in ';) "re' for line in lines)


@pytest.mark.parametrize("command", ["rotate", "activate", "remove", "list", "check"])
def test_a_domain_without_keys(command: str, tmp_path: Path) -> None:
    """One line, exit status 1, nothing made."""
    result = dkim_key(tmp_path, command, "example.org")
    assert 1 == result.exit_code
    assert f"letterlock: example.org has no keys in {tmp_path}\n" == result.stderr
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [["list"], ["check"], ["generate", "example.org"]])
def test_a_directory_that_is_none(arguments: list[str], tmp_path: Path) -> None:
    """It is named."""
    path = tmp_path / "file"
    path.write_text("")
    result = dkim_key(path, *arguments)
    assert (1, 1) == (result.exit_code, result.stderr.count("\n"))
    assert str(path) in result.stderr


@pytest.mark.parametrize("domain", ["", "a b", "../x", "alice@example.org", "a..b"])
def test_what_is_no_domain(domain: str, tmp_path: Path) -> None:
    """A usage error."""
    assert os.EX_USAGE == dkim_key(tmp_path, "generate", domain).exit_code
    assert [] == list(tmp_path.iterdir())


def test_short_keys_are_not_offered(tmp_path: Path) -> None:
    """RSA begins at 2048 bits."""
    assert os.EX_USAGE == dkim_key(tmp_path, "generate", "example.org", "--bits", "1024").exit_code


def test_a_name_server_that_is_none(tmp_path: Path) -> None:
    """A usage error that says what was expected."""
    dkim_key(tmp_path, "generate", "example.org")
    result = dkim_key(tmp_path, "check", "--nameserver", "ns.example.org")
    assert (64, 1) == (result.exit_code, result.stderr.count("\n"))
    assert "expected an IP address" in result.stderr


def test_a_key_that_others_can_read(tmp_path: Path) -> None:
    """`check` says so for the key, and goes on with the others."""
    dkim_key(tmp_path, "generate", "example.org")
    for path in tmp_path.glob("*/*.pem"):
        path.chmod(0o644)
    result = dkim_key(tmp_path, "check")
    assert 1 == result.exit_code
    assert 2 == result.stdout.count("mode 644")
