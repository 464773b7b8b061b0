"""ansible/ without a host: lint, what its files say of the daemons, and the documents of it."""

import importlib.util
import itertools
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
ANSIBLE = ROOT / "ansible"
INVENTORIES = sorted(path.parent for path in ANSIBLE.glob("inventories/*/hosts.yml"))
BOOKS = sorted(path.name for path in ANSIBLE.glob("*.yml"))


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of Ansible's programs where ansible.cfg is."""
    # ansible-lint starts others by their names.
    scripts = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{scripts}:{os.environ['PATH']}", "ANSIBLE_NOCOLOR": "1"}
    line = [str(scripts / program), *arguments]
    return subprocess.run(
        line, cwd=ANSIBLE, env=environment, capture_output=True, text=True, check=False
    )


def test_lint_has_nothing_to_say() -> None:
    """The profile for what others run in production."""
    done = run("ansible-lint", "--offline", "--nocolor", "--profile", "production")

    assert 0 == done.returncode, done.stdout + done.stderr


def test_the_roles_know_every_option_of_the_daemons() -> None:
    """A value that a daemon would refuse is refused before anything changes."""
    line = [sys.executable, str(ANSIBLE / "write-specs"), "--check"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)

    assert 0 == done.returncode, done.stderr


@pytest.mark.parametrize("inventory", INVENTORIES, ids=lambda path: str(path.name))
@pytest.mark.parametrize("book", BOOKS)
def test_example_inventories_fit_the_books(inventory: Path, book: str) -> None:
    """Groups and variables are those that the plays name; nothing is contacted."""
    done = run("ansible-playbook", "--syntax-check", book, "-i", str(inventory))

    assert 0 == done.returncode, done.stderr
    missing = re.findall(r"Could not match supplied host pattern, ignoring: (\S+)", done.stderr)
    assert [] == [group for group in missing if group != "letterlock_monitoring"]


def _load(path: Path) -> Any:
    return YAML(typ="safe").load(path)


@pytest.mark.parametrize("role", sorted(ANSIBLE.glob("roles/*")), ids=lambda path: str(path.name))
def test_every_variable_of_a_role_is_specified(role: Path) -> None:
    """Its defaults and its specification name the same variables, and the same defaults."""
    specified = _load(role / "meta" / "argument_specs.yml")["argument_specs"]["main"]["options"]
    defaults = (
        _load(role / "defaults" / "main.yml") if (role / "defaults" / "main.yml").exists() else {}
    )
    required = {name for name, option in specified.items() if option.get("required")}

    assert set(specified) - required == set(defaults)
    for name, option in specified.items():
        if "default" in option:
            assert option["default"] == defaults[name] or "{{" in str(defaults[name]), name


@pytest.mark.parametrize("role", sorted(ANSIBLE.glob("roles/*")), ids=lambda path: str(path.name))
def test_every_default_says_what_it_is(role: Path) -> None:
    """A comment stands above each variable, or above the group that it is in."""
    lines = (role / "defaults" / "main.yml").read_text().splitlines()
    for before, line in itertools.pairwise(lines):
        if re.match(r"letterlock_\w+:", line):
            assert before.startswith(("#", "letterlock_", " ")), line


def _filter() -> ModuleType:
    path = ANSIBLE / "roles/letterlock_common/filter_plugins/letterlock_toml.py"
    specification = importlib.util.spec_from_file_location("letterlock_toml", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


VALUES = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=("Cs",))),
)
TABLES = st.recursive(
    st.one_of(VALUES, st.lists(VALUES, max_size=3)),
    lambda inner: st.dictionaries(st.text('abc." -_', min_size=1), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text('abc." -_', min_size=1), TABLES, max_size=4))
def test_settings_become_the_toml_that_they_were(settings: dict[str, object]) -> None:
    """Whatever an inventory has, the daemon reads the same."""
    assert settings == tomllib.loads(_filter().letterlock_toml(settings))
