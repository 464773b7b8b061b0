"""docs/owners.md, typed line by line: what an owner and the provider do with keys."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyservice.client import Mailbox, Outcome
from keyservice_process import KeyServiceProcess
from openpgp_tools import GnuPG

PAGE = Path(__file__).parents[2] / "docs" / "owners.md"
ALICE = Mailbox.parse("alice@example.org")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[KeyServiceProcess]:
    """The provider's."""
    with KeyServiceProcess(tmp_path / "keyservice") as process:
        yield process


class Reader:
    """Somebody who does what the page says, section by section, in one directory."""

    def __init__(self, home: Path, service: KeyServiceProcess) -> None:
        self._directory = home
        (home / "gpg.conf").write_text("batch\npinentry-mode loopback\npassphrase ''\n")
        bin_directory = Path(sys.executable).parent
        self._environment = os.environ | {
            "GNUPGHOME": str(home),
            "LETTERLOCK_KEYSERVICE": f"unix:{service.socket}",
            "PATH": f"{bin_directory}:{os.environ['PATH']}",
        }
        self._variables = home / "variables"
        self._variables.touch()

    def follows(self, section: str) -> None:
        """Type the blocks of a section; variables stay."""
        _, found, rest = PAGE.read_text().partition(f"\n## {section}\n")
        assert found, section
        blocks = re.findall(r"(?ms)^```sh\n(.*?)^```", rest.partition("\n## ")[0])
        assert blocks, section
        said = self._variables
        script = f"set -eu\n. {said}\n{''.join(blocks)}\nset >{said}.all\n"
        script += f"grep -E '^(key|old)=' {said}.all >{said}"
        done = subprocess.run(
            ["sh", "-c", script],
            cwd=self._directory, env=self._environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert 0 == done.returncode, f"{section}: {done.stdout}{done.stderr}"

    def key(self, name: str = "key") -> str:
        """Return the fingerprint that the page has given that name."""
        (found,) = re.findall(rf"(?m)^{name}='([0-9A-F]+)'$", self._variables.read_text())
        return str(found)


def test_the_page_leads_from_the_first_key_to_the_last(service: KeyServiceProcess) -> None:
    """After each section mail is encrypted to what the page says, or waits."""
    with GnuPG.at_home() as gnupg:
        owner = Reader(gnupg.home, service)

        def in_use() -> str | None:
            answer = service.client().lookup(ALICE)
            return answer.fingerprint.upper() if answer.outcome is Outcome.FOUND else None

        owner.follows("Make one")
        assert {"secret-key.asc", "revocation.asc"} <= set(os.listdir(gnupg.home))
        owner.follows("Hand it in")
        assert owner.key() == in_use()
        owner.follows("Extend it, before it ends")
        assert owner.key() == in_use()
        first = owner.key()
        owner.follows("Change it")
        assert (first, owner.key()) == (owner.key("old"), in_use())
        owner.follows("If it was stolen, or is lost")
        assert in_use() is None
        owner.follows("Leave")
        assert service.client().lookup(ALICE).had_certificate
