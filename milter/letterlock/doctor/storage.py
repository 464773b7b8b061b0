"""Whether what is written to a place on this host rests encrypted.

From the mount down: the file system's own encryption, then the block device and everything
that it is made of (LVM, RAID, partitions, loop devices), until dm-crypt is met or the bottom.
Pure over `Host`.
"""

import re
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePosixPath

from letterlock.doctor.host import Host

_DEPTH_MAX = 10
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
_ENCRYPTED = frozenset({"ecryptfs", "fuse.gocryptfs", "fuse.encfs", "fuse.cryfs"})
_UNTOLD = frozenset({"zfs", "nfs", "nfs4", "cifs", "9p", "virtiofs", "ceph", "fuse.glusterfs"})
_ESCAPE = re.compile(r"\\([0-7]{3})")


class Rest(Enum):
    """How something rests."""

    ENCRYPTED = "encrypted"
    MEMORY = "memory"
    """Never on a disk by itself; swap is another matter."""

    PLAIN = "plain"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of /proc/self/mountinfo (proc(5))."""

    device: str
    """MAJOR:MINOR; major 0 for file systems without one device."""

    point: str
    kind: str
    source: str
    options: dict[str, str]
    """Of the file system, not of the mount."""


def rest_of(host: Host, path: str, depth: int = 0) -> Rest:
    """Return how files below `path` rest."""
    mount = mount_of(mounts(host), path)
    if mount is None or depth > _DEPTH_MAX:
        return Rest.UNKNOWN
    if mount.kind in _IN_MEMORY:
        return Rest.MEMORY
    if mount.kind in _ENCRYPTED or host.is_encrypted_by_directory(path):
        return Rest.ENCRYPTED
    if mount.kind in _UNTOLD:
        return Rest.UNKNOWN
    if mount.kind == "overlay":
        upper = mount.options.get("upperdir", "")
        return _rest_of_named(host, upper, depth) if upper.startswith("/") else Rest.UNKNOWN
    # Some file systems, such as btrfs, have a device number that is nobody's.
    device = host.block_device(mount.source) if mount.device.startswith("0:") else mount.device
    return Rest.UNKNOWN if device is None else device_rest(host, device, depth)


def device_rest(host: Host, device: str, depth: int = 0) -> Rest:
    """Return how the block device `device`, MAJOR:MINOR, rests."""
    folder = PurePosixPath("/sys/dev/block", device)
    names = host.names_in(folder)
    if not names or depth > _DEPTH_MAX:
        return Rest.UNKNOWN
    if (host.read(folder / "dm/uuid") or "").startswith("CRYPT-"):
        return Rest.ENCRYPTED
    if file := host.read(folder / "loop/backing_file"):
        return _rest_of_named(host, file, depth)
    if slaves := host.names_in(folder / "slaves"):
        numbers = (host.read(folder / "slaves" / name / "dev") for name in slaves)
        below = {device_rest(host, n, depth + 1) if n else Rest.UNKNOWN for n in numbers}
        return _weakest(below)
    return _undivided(host, folder)


def mounts(host: Host) -> list[Mount]:
    """Return what is mounted, in the order of mounting."""
    text = host.read("/proc/self/mountinfo") or ""
    return [_mount(line) for line in text.splitlines() if " - " in line]


def mount_of(mounted: list[Mount], path: str) -> Mount | None:
    """Return the mount that `path` is on; the last one, where several lie on each other."""
    pure = PurePosixPath(path)
    around = [m for m in mounted if pure.is_relative_to(m.point)]
    deepest = max((len(PurePosixPath(m.point).parts) for m in around), default=0)
    return next((m for m in reversed(around) if len(PurePosixPath(m.point).parts) == deepest), None)


def _rest_of_named(host: Host, path: str, depth: int) -> Rest:
    """Return how `path` rests, of which the kernel says that something is in it."""
    rest = rest_of(host, path, depth + 1)
    # In a container it is a path of the host outside, and may lead to another place in here.
    return rest if rest is Rest.PLAIN or host.status(path) else Rest.UNKNOWN


def _mount(line: str) -> Mount:
    before, _, after = line.partition(" - ")
    device, point = before.split()[2], before.split()[4]
    kind, source, options = [*after.split(), "", ""][:3]
    pairs = (option.partition("=") for option in options.split(","))
    return Mount(
        device, _plain(point), kind, _plain(source), {name: _plain(v) for name, _, v in pairs}
    )


def _plain(text: str) -> str:
    return _ESCAPE.sub(lambda octal: chr(int(octal[1], 8)), text)


def _undivided(host: Host, folder: PurePosixPath) -> Rest:
    # zram is memory, unless it may write what is idle to a disk.
    if host.read(folder / "mm_stat") is not None:
        backing = host.read(folder / "backing_dev") or "none"
        return Rest.MEMORY if backing == "none" else Rest.UNKNOWN
    return Rest.PLAIN


def _weakest(below: set[Rest]) -> Rest:
    for rest in (Rest.PLAIN, Rest.UNKNOWN, Rest.MEMORY):
        if rest in below:
            return rest
    return Rest.ENCRYPTED
