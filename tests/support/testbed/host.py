"""One host: Debian's systemd as the first process, in namespaces, over a tree that stays."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

from stack.processes import Session, greets, spawn, wait_until
from testbed.network import Network

_CGROUPS = [Path("/sys/fs/cgroup") / name for name in ("systemd", "unified", ".")]
"""Of the hierarchies, those which are there; the last of them is of the second version."""

_NSPAWN_STATE = Path("/run/systemd/nspawn/propagate")
"""nspawn leaves a directory there, unless it is in a tmpfs."""

_START_SECONDS = 60.0
_STOP_SECONDS = 40.0

# A cgroup of its own, or all hosts would share `payload` of ours. It must be entered before
# nspawn starts.
_ENTER = 'for group in $CGROUPS; do echo $$ >"$group/cgroup.procs"; done; exec "$@"'

# Without a log-in manager outside, and in a hierarchy of cgroups that may be a mixture.
_NSPAWN = [
    "systemd-nspawn",
    "--quiet",
    "--boot",
    "--register=no",
    "--keep-unit",
    "--resolv-conf=off",
    "--link-journal=no",
    "--timezone=off",
    "--console=read-only",
    "--kill-signal=SIGRTMIN+3",
]

# Without these systemd inside takes IPAddressDeny= for granted and enforces nothing.
_FOR_ADDRESS_FILTERS = ["--system-call-filter=bpf", "--capability=CAP_BPF,CAP_PERFMON"]


class Host:
    """A host called NAME.test; a context manager that leaves nothing behind."""

    def __init__(self, network: Network, tree: Path, name: str, number: int) -> None:
        """Nothing runs before `__enter__`. `number`: of its address."""
        self.name = name
        self.fqdn = f"{name}.test"
        self.address = network.address(number)
        self._network = network
        self._tree = tree
        self._directory = network.directory / name
        self.root = self._directory / "root"
        """Its file system, seen from here."""
        # Two runs may have hosts of the same name.
        self._machine = f"{name}-{network.name}"
        self._session: Session | None = None
        self._running = ExitStack()

    def __enter__(self) -> Self:
        """Start it; it answers ssh then."""
        with ExitStack() as stack:
            self._make_tree(stack)
            self._make_cgroups(stack)
            stack.callback(shutil.rmtree, _NSPAWN_STATE / self._machine, ignore_errors=True)
            stack.callback(self.kill)
            self.start()
            self._running = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """End it, with all that it wrote."""
        self._running.close()

    @property
    def key(self) -> Path:
        """The private key with which root and admin log in."""
        return self._network.directory / "id_ed25519"

    @property
    def ssh_options(self) -> list[str]:
        """Options of ssh: the host is as new as its key, so nothing can be known of it."""
        settings = {
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "LogLevel": "ERROR",
            "ConnectTimeout": "5",
            "ControlMaster": "auto",
            "ControlPath": f"{self._network.directory}/%C",
            "ControlPersist": "60",
        }
        return ["-i", str(self.key), *(f"-o{name}={value}" for name, value in settings.items())]

    def start(self) -> None:
        """Start it, or start it again."""
        log = self._directory / "console.log"
        directory = ["--directory", str(self.root), "--machine", self._machine]
        line = [*_NSPAWN, *_FOR_ADDRESS_FILTERS, *directory]
        line.append(f"--network-bridge={self._network.bridge}")
        environment = {
            "CGROUPS": " ".join(map(str, self._cgroups())),
            # As Debian has it, whatever this machine has.
            "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
        }
        command = ["/bin/sh", "-c", _ENTER, "sh", *line]
        self._session = spawn(self.name, command, log, self._network.ledger, environment)
        wait_until(lambda: self._is_up() or self._has_ended(), self.name, _START_SECONDS, log)
        if self._has_ended():
            raise RuntimeError(f"{self.name} did not start: {log.read_text()[-2000:]}")

    def reboot(self) -> None:
        """Have it reboot, and return when it answers again."""
        self.run("systemctl reboot", check=False)
        self._disconnect()
        wait_until(self._has_ended, f"{self.name}: its end", _STOP_SECONDS)
        self.start()

    def stop(self) -> None:
        """Shut it down in order."""
        if self._session is not None:
            self._disconnect()
            self._session.ask_to_end()
            wait_until(self._has_ended, f"{self.name}: its end", _STOP_SECONDS)

    def kill(self) -> None:
        """Take its power away."""
        if self._session is not None:
            self._disconnect()
            (self._cgroups()[-1] / "cgroup.kill").write_text("1")
            wait_until(self._has_ended, f"{self.name}: its end")

    def run(
        self, command: str, stdin: bytes | str = b"", *, check: bool = True, user: str = "root"
    ) -> str:
        """Return what a shell command wrote; raise CommandFailed with its errors."""
        line = ["ssh", *self.ssh_options, f"{user}@{self.address}", command]
        octets = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(line, input=octets, capture_output=True, check=False)
        if check and done.returncode:
            raise CommandFailed(self.name, command, done)
        return done.stdout.decode(errors="replace")

    def succeeds(self, command: str) -> bool:
        """Say whether a shell command ends with 0."""
        with suppress(CommandFailed):
            self.run(command)
            return True
        return False

    def write(self, path: str, content: str | bytes, mode: str = "644") -> None:
        """Put a file there."""
        quoted = shlex.quote(path)
        self.run(f"umask 077; cat >{quoted} && chmod {mode} {quoted}", content)

    def wait(self, question: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
        """Return as soon as `question` answers True."""
        wait_until(question, f"{self.name}: {what}", seconds)

    def _make_tree(self, stack: ExitStack) -> None:
        for name in ("upper", "work", "root"):
            (self._directory / name).mkdir(parents=True)
        options = ",".join(
            f"{option}={path}"
            for option, path in (
                ("lowerdir", self._tree),
                ("upperdir", self._directory / "upper"),
                ("workdir", self._directory / "work"),
            )
        )
        _run("mount", "-t", "overlay", "-o", options, self.name, str(self.root))
        stack.callback(_run, "umount", "--lazy", str(self.root))
        self._make_key()
        for path, content in self._files():
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).unlink(missing_ok=True)
            (self.root / path).write_text(content)
        for account, home in (("root", "root"), ("admin", "home/admin")):
            self._authorize(account, self.root / home / ".ssh")
        # Ansible asks how old the lists of packages are. They will not get newer.
        (self.root / "var/lib/apt/lists").touch()

    def _files(self) -> Iterator[tuple[str, str]]:
        gateway = self._network.gateway
        yield "etc/hostname", f"{self.fqdn}\n"
        yield "etc/hosts", f"127.0.0.1 localhost\n{self.address} {self.fqdn} {self.name}\n"
        yield "etc/mailname", f"{self.fqdn}\n"
        yield "etc/resolv.conf", f"nameserver {gateway}\n"
        yield (
            "etc/systemd/network/10-host0.network",
            "[Match]\nName=host0\n[Network]\nLinkLocalAddressing=no\n"
            f"Address={self.address}/24\nGateway={gateway}\n",
        )

    def _make_key(self) -> None:
        if not self.key.exists():
            _run(
                "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "testbed", "-f", str(self.key)
            )

    def _authorize(self, account: str, directory: Path) -> None:
        directory.mkdir(mode=0o700, exist_ok=True)
        (directory / "authorized_keys").write_text(self.key.with_suffix(".pub").read_text())
        inside = f"/{directory.relative_to(self.root)}"
        _run("chroot", str(self.root), "chown", "-R", f"{account}:", inside)

    def _make_cgroups(self, stack: ExitStack) -> None:
        for group in self._cgroups():
            group.mkdir()
            stack.callback(_remove_cgroup, group)

    def _cgroups(self) -> list[Path]:
        return [
            parent / f"ll-{self._machine}"
            for parent in _CGROUPS
            if (parent / "cgroup.procs").exists()
        ]

    def _is_up(self) -> bool:
        if not greets((self.address, 22), b"SSH"):
            return False
        # `degraded` is up, too; whoever cares asks for the failed units.
        state = self.run("systemctl is-system-running --wait", check=False)
        return state.strip() in ("running", "degraded")

    def _has_ended(self) -> bool:
        # Its first process leads a session of its own, so ours would not tell.
        return "populated 0" in (self._cgroups()[-1] / "cgroup.events").read_text()

    def _disconnect(self) -> None:
        line = ["ssh", *self.ssh_options, "-O", "exit", f"root@{self.address}"]
        subprocess.run(line, capture_output=True, check=False)


class CommandFailed(Exception):
    """A command on a host did not end with 0; the text has its errors."""

    def __init__(self, host: str, command: str, done: subprocess.CompletedProcess[bytes]) -> None:
        """Keep what it wrote."""
        output = (done.stdout + done.stderr).decode(errors="replace")
        super().__init__(f"{host}: {command}: exit status {done.returncode}\n{output[-4000:]}")


def _remove_cgroup(group: Path) -> None:
    for directory, _, _ in os.walk(group, topdown=False):
        Path(directory).rmdir()


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
