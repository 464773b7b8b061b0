"""HAProxy between milters and key services, configured as the role letterlock_link does it."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import jinja2

from authority import Authority
from ports import free_port
from stack.processes import greets, wait_until

_TEMPLATES = Path(__file__).parents[2] / "ansible/roles/letterlock_link/templates"
_KEYSERVICE_SOCKET = "/run/letterlock/keyservice.sock"


class HAProxy:
    """One of the two ends; a context manager, and can be started again."""

    def __init__(self, directory: Path, authority: Authority, name: str) -> None:
        """`name`: the host's, which its certificate is for."""
        directory.mkdir()
        self.directory = directory
        self.log = directory / "log"
        self._trusted = directory / "authority.pem"
        self._trusted.write_text(authority.certificate)
        self.identify(authority, name)

    def identify(self, authority: Authority, name: str) -> None:
        """Give it another certificate, from the next start on."""
        (self.directory / "link.pem").write_text("".join(authority.identity([name])))

    def start(self) -> Self:
        """Return when it listens."""
        program = shutil.which("haproxy", path="/usr/sbin:/usr/bin")
        assert program is not None, "haproxy is not installed"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [program, "-W", "-f", str(self.directory / "link.cfg")],
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=self._sockets(),
                env={**os.environ, "CREDENTIALS_DIRECTORY": str(self.directory)},
            )
        wait_until(self._is_up, "HAProxy", log=self.log)
        return self

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.kill()

    def kill(self) -> None:
        """End it, and what it had started, as a power cut would."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _sockets(self) -> Sequence[int]:
        return ()

    def _is_up(self) -> bool:
        raise NotImplementedError

    def _configure(self, template: str, replaced: Mapping[str, str], **values: object) -> None:
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_TEMPLATES),
            trim_blocks=True,  # as Ansible has it
            keep_trailing_newline=True,
            undefined=jinja2.StrictUndefined,
            autoescape=False,
        )
        self.metrics_url = f"http://127.0.0.1:{(port := free_port())}/metrics"
        text = environment.get_template(template).render(
            ansible_managed="a test", letterlock_link_metrics=f"127.0.0.1:{port}", **values
        )
        for old, new in {
            "/etc/letterlock/link-authority.pem": str(self._trusted),
            **replaced,
        }.items():
            assert old in text, old
            text = text.replace(old, new)
        (self.directory / "link.cfg").write_text(text)


class Door(HAProxy):
    """In front of a key service."""

    def __init__(
        self, directory: Path, authority: Authority, name: str, keyservice: Path, port: int
    ) -> None:
        """`keyservice`: its socket."""
        super().__init__(directory, authority, name)
        self.address = ("127.0.0.1", port)
        self._configure(
            "letterlock-door.cfg.j2",
            {_KEYSERVICE_SOCKET: str(keyservice)},
            letterlock_link_listen=f"127.0.0.1:{port}",
        )

    def _is_up(self) -> bool:
        return greets(self.address)


class Link(HAProxy):
    """In the place of a key service."""

    def __init__(
        self, directory: Path, authority: Authority, name: str, doors: Mapping[str, Door]
    ) -> None:
        """`doors`: by the names that their certificates should be for."""
        super().__init__(directory, authority, name)
        self.socket = directory / "keyservice.sock"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.socket))
        self._listener.listen(128)
        hosts = {
            name: {"letterlock_link_address": "{}:{}".format(*door.address)}
            for name, door in doors.items()
        }
        self._configure(
            "letterlock-link.cfg.j2",
            {"bind fd@3": f"bind fd@{self._listener.fileno()}"},
            letterlock_link_keyservices=sorted(hosts),
            hostvars=hosts,
        )

    @property
    def url(self) -> str:
        """What a milter's configuration says."""
        return f"unix:{self.socket}"

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._listener.close()

    def _sockets(self) -> Sequence[int]:
        return (self._listener.fileno(),)

    def _is_up(self) -> bool:
        return greets(str(self.socket))
