"""One host that is a virtual machine, for what a container cannot show: what its kernel does."""

import os
import shutil
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from stack.processes import spawn, wait_until
from testbed.host import Host
from testbed.machine_tree import machine_tree
from testbed.network import Network

_DISK = "6G"

_START_SECONDS = 300.0
_STOP_SECONDS = 120.0

_QEMU = [
    "qemu-system-x86_64",
    *("-machine", "q35", "-smp", "2", "-m", "1024", "-nodefaults", "-display", "none"),
    *("-device", "virtio-rng-pci"),
    # It ends where a machine would start anew, and `reboot` starts it.
    "-no-reboot",
]

_KERNEL = "root=/dev/vda rw console=ttyS0 quiet mitigations=off"


class Machine(Host):
    """A host called NAME.test on a network's bridge; `root` is its disk before it first starts."""

    def __init__(self, network: Network, name: str, number: int) -> None:
        """Nothing runs before `__enter__`. `number`: of its address."""
        super().__init__(network, machine_tree(), name, number)
        self._tap = f"t{network.name}-{number}"
        self._disk = self._directory / "disk"

    def __enter__(self) -> Self:
        """Start it; it answers ssh then."""
        # Too large to be asked of everybody (`./dev setup`).
        if shutil.which(_QEMU[0]) is None:
            install = "apt-get install --no-install-recommends qemu-system-x86"
            raise RuntimeError(f"{_QEMU[0]} is missing: {install}")
        with ExitStack() as stack:
            self._make_disk()
            _run("ip", "tuntap", "add", self._tap, "mode", "tap")
            stack.callback(_run, "ip", "link", "delete", self._tap)
            _run("ip", "link", "set", self._tap, "master", self._network.bridge, "up")
            stack.callback(self.kill)
            self.start()
            self._running = stack.pop_all()
        return self

    @property
    def console(self) -> Path:
        """What it wrote to its first serial line."""
        return self._directory / "console.log"

    @property
    def ssh_options(self) -> list[str]:
        """Options of ssh, with patience: an emulated processor takes seconds for its keys."""
        return ["-oConnectTimeout=60", *super().ssh_options]

    def start(self, *, is_complete: bool = True) -> None:
        """Start it, or start it again; return when all its units are, or else as ssh answers."""
        log = self._directory / "qemu.log"
        self._session = spawn(self.name, self._command(), log, self._network.ledger, {})
        question = self._is_up if is_complete else self._answers
        wait_until(lambda: question() or self._has_ended(), self.name, _START_SECONDS, self.console)
        if self._has_ended():
            raise RuntimeError(f"{self.name} did not start: {log.read_text()[-2000:]}")

    def reboot(self, *, is_complete: bool = True) -> None:
        """Have it reboot, and return when it answers again."""
        self._end("reboot")
        self.start(is_complete=is_complete)

    def stop(self) -> None:
        """Shut it down in order."""
        if not self._has_ended():
            self._end("poweroff")

    def kill(self) -> None:
        """Take its power away."""
        if self._session is not None:
            self._disconnect()
            self._session.signal(signal.SIGKILL)
            wait_until(self._has_ended, f"{self.name}: its end")

    def _end(self, verb: str) -> None:
        self.run(f"systemctl {verb}", check=False)
        self._disconnect()
        wait_until(self._has_ended, f"{self.name}: its end", _STOP_SECONDS, self.console)

    def _make_disk(self) -> None:
        with ExitStack() as stack:
            self._make_tree(stack)
            _run("mke2fs", "-q", "-t", "ext4", "-d", str(self.root), str(self._disk), _DISK)

    def _command(self) -> list[str]:
        boot = self._tree / "boot"
        (kernel,), (initrd,) = boot.glob("vmlinuz-*"), boot.glob("initrd.img-*")
        network = f"tap,id=net,ifname={self._tap},script=no,downscript=no"
        name = self._network.name
        number = int(self.address.rpartition(".")[2])
        mac = f"52:54:00:{name[:2]}:{name[2:]}:{number:02x}"
        # What it loses is lost with the test.
        disk = f"file={self._disk},format=raw,if=virtio,cache=unsafe"
        return [
            *_QEMU,
            *_acceleration(),
            *("-kernel", str(kernel), "-initrd", str(initrd), "-append", _KERNEL),
            *("-drive", disk),
            *("-netdev", network, "-device", f"virtio-net-pci,netdev=net,mac={mac}"),
            *("-serial", f"file:{self.console}"),
        ]

    def _answers(self) -> bool:
        return "up" == self.run("echo up", check=False).strip()

    def _has_ended(self) -> bool:
        return self._session is None or not self._session.members()


def _acceleration() -> list[str]:
    # A kvm without the processor's help takes no kernel of Debian's, and does not say so.
    flags = Path("/proc/cpuinfo").read_text().split()
    if {"vmx", "svm"} & set(flags) and os.access("/dev/kvm", os.R_OK | os.W_OK):
        return ["-accel", "kvm", "-cpu", "host"]
    return ["-accel", "tcg,thread=multi", "-cpu", "max"]


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
