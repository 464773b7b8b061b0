"""The tree of a host with a kernel of its own, for it to start as a virtual machine.

Kept beside the tree that it is made of.
"""

import fcntl
import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testbed.tree import KEPT, tree

_AWAITED = ["cryptsetup"]
"""What roles install on machines only."""

_ROOT_FILES = {
    "etc/fstab": "/dev/vda / ext4 rw,noatime 0 1\n",
    # Hosts of the testbed have one interface, of this name.
    "etc/systemd/network/10-host0.link": "[Match]\nType=ether\n[Link]\nName=host0\n",
    # What it needs to find its disk. Without it initramfs-tools takes all that there is.
    "etc/initramfs-tools/conf.d/testbed": "MODULES=list\nCOMPRESS=zstd\n",
    "etc/initramfs-tools/modules": "virtio_pci\nvirtio_blk\next4\n",
}

# In a namespace of mounts, which leaves none behind.
_ADD_KERNEL = """\
set -eu
root=$1
mount -t proc proc "$root/proc"
mount --bind /etc/resolv.conf "$root/etc/resolv.conf"
export DEBIAN_FRONTEND=noninteractive
chroot "$root" apt-get -qq --no-install-recommends install -y \
    linux-image-cloud-amd64 udev initramfs-tools zstd
# It looks for snapshots of volumes that nobody has, for half a minute.
ln -sf /dev/null "$root/etc/systemd/system/e2scrub_reap.service"
chroot "$root" apt-get -qq --no-install-recommends --download-only install -y {awaited}
"""


def machine_tree() -> Path:
    """Return the tree, made now (about a minute) or by an earlier run."""
    base = tree()
    recipe = (base.name, _AWAITED, _ROOT_FILES, _ADD_KERNEL)
    path = KEPT / f"machine-{hashlib.sha256(repr(recipe).encode()).hexdigest()[:12]}"
    with _alone(KEPT / "machine.lock"):
        if not path.exists():
            for other in KEPT.glob("machine-*"):
                shutil.rmtree(other)
            _make(base, path)
    return path


def _make(base: Path, path: Path) -> None:
    scratch = path.with_suffix(".making")
    _run("cp", "--archive", str(base), str(scratch))
    for name, content in _ROOT_FILES.items():
        file = scratch / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    script = _ADD_KERNEL.format(awaited=" ".join(_AWAITED))
    _run("unshare", "--mount", "sh", "-c", script, "sh", str(scratch))
    scratch.rename(path)


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:2])}: {(done.stdout + done.stderr)[-3000:]}")
