"""Ansible as an operator runs it: with an inventory of his, as `admin` with sudo."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.host import Host

ANSIBLE = Path(__file__).parents[3] / "ansible"


@dataclass(frozen=True)
class Run:
    """What became of a play book."""

    status: int
    output: str

    @property
    def changed(self) -> int:
        """Tasks that changed something, on all hosts."""
        return sum(map(int, re.findall(r"(?m)^\S+ +: ok=.* changed=(\d+)", self.output)))

    @property
    def has_failed(self) -> bool:
        """Whether a task failed, or nothing was run."""
        return self.status != 0 or "PLAY RECAP" not in self.output

    @property
    def words(self) -> str:
        """The output without its line ends, which fall where it is wide enough."""
        return " ".join(self.output.split())

    @property
    def changes(self) -> list[str]:
        """The names of the tasks that changed something."""
        parts = re.split(r"(?m)^(?:TASK|RUNNING HANDLER) \[(.*)\] \**$", self.output)
        named = zip(parts[1::2], parts[2::2], strict=True)
        return [name for name, result in named if re.search(r"(?m)^changed: ", result)]


class Controller:
    """An operator's directory, with an inventory of testbed hosts."""

    def __init__(
        self,
        directory: Path,
        groups: Mapping[str, Sequence[Host]],
        variables: Mapping[str, Any],
    ) -> None:
        """Write the inventory: each group with its hosts, and `variables` for all."""
        directory.mkdir(parents=True, exist_ok=True)
        self._groups, self._variables = dict(groups), variables
        self.inventory = directory / "hosts.yml"
        hosts = {host.fqdn: host for members in groups.values() for host in members}
        document = {
            group: {"hosts": {h.fqdn: {} for h in members}} for group, members in groups.items()
        }
        login = {name: self._login(host) for name, host in hosts.items()}
        # JSON is YAML.
        everywhere = {"hosts": login, "vars": dict(variables)}
        self.inventory.write_text(json.dumps({"all": everywhere, **document}))

    def play(self, book: str, *options: str, **variables: object) -> Run:
        """Run a play book of ansible/; `variables` are said on top of the inventory's."""
        line = [str(Path(sys.executable).with_name("ansible-playbook")), book, *options]
        line += ["--inventory", str(self.inventory)]
        line += ["--extra-vars", json.dumps(variables)]
        done = subprocess.run(
            line,
            cwd=ANSIBLE,
            env=os.environ | {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_HOST_KEY_CHECKING": "false"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return Run(done.returncode, done.stdout)

    def regrouped(self, **groups: Sequence[Host]) -> "Controller":
        """Return one for whom these groups have other hosts."""
        directory = self.inventory.parent / "-".join(groups)
        return Controller(directory, self._groups | groups, self._variables)

    @staticmethod
    def _login(host: Host) -> dict[str, str]:
        return {
            "ansible_host": host.address,
            "ansible_user": "admin",
            "ansible_ssh_private_key_file": str(host.key),
            "ansible_ssh_common_args": "-o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
        }
