"""Whether something rests encrypted: every way that Linux has to put files onto disks."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from host_tree import PLAIN_DISK, PLAIN_ROOT, host_with
from letterlock.doctor.storage import Rest, mount_of, mounts, rest_of

SPOOL = "/var/spool/postfix"
LUKS = {"/sys/dev/block/253:0/dm/uuid": "CRYPT-LUKS2-0123-spool\n"}


def mounted(device: str, kind: str, source: str, options: str = "rw") -> dict[str, str]:
    """The spool on a volume of its own, the rest on a plain disk."""
    line = f"40 22 {device} / {SPOOL} rw - {kind} {source} {options}\n"
    return {"/proc/self/mountinfo": PLAIN_ROOT + line}


@pytest.mark.parametrize(
    ("expected", "files"),
    [
        (Rest.PLAIN, {"/proc/self/mountinfo": PLAIN_ROOT}),
        (Rest.ENCRYPTED, mounted("253:0", "ext4", "/dev/mapper/spool") | LUKS),
        (Rest.MEMORY, mounted("0:40", "tmpfs", "tmpfs")),
        (Rest.UNKNOWN, mounted("0:41", "zfs", "pool/spool")),
        (Rest.UNKNOWN, mounted("0:42", "nfs4", "server:/spool")),
        (Rest.UNKNOWN, mounted("253:9", "ext4", "/dev/mapper/hidden")),
        (Rest.UNKNOWN, {}),
        (Rest.ENCRYPTED, mounted("0:43", "ecryptfs", "/lower")),
        (Rest.PLAIN, mounted("0:44", "overlay", "overlay", "rw,lowerdir=/a,upperdir=/upper")),
        (Rest.UNKNOWN, mounted("0:44", "overlay", "overlay", "rw,lowerdir=/a")),
        # In a container: the path is one of the host outside, and here it leads into memory.
        (
            Rest.UNKNOWN,
            {
                "/proc/self/mountinfo": "22 1 0:44 / / rw - overlay overlay rw,upperdir=/tmp/up\n"
                "23 22 0:45 / /tmp rw - tmpfs tmpfs rw\n"
            },
        ),
        # btrfs has a device number of its own; what it is on is its source.
        (
            Rest.ENCRYPTED,
            mounted("0:45", "btrfs", "/dev/mapper/spool") | {"/dev/mapper/spool": "253:0"} | LUKS,
        ),
    ],
)
def test_file_systems(expected: Rest, files: Mapping[str, str], tmp_path: Path) -> None:
    """The file system decides, or the device below it."""
    assert expected is rest_of(host_with(tmp_path, PLAIN_DISK, files), SPOOL)


LVM = {"/sys/dev/block/253:5/dm/uuid": "LVM-abc\n"}


@pytest.mark.parametrize(
    ("expected", "files"),
    [
        # LVM on LUKS.
        (Rest.ENCRYPTED, LVM | {"/sys/dev/block/253:5/slaves/dm-0/dev": "253:0"} | LUKS),
        # LVM on a disk.
        (Rest.PLAIN, LVM | {"/sys/dev/block/253:5/slaves/vda/dev": "254:0"}),
        # A mirror of which one half is plain.
        (
            Rest.PLAIN,
            LVM
            | LUKS
            | {"/sys/dev/block/253:5/slaves/dm-0/dev": "253:0"}
            | {"/sys/dev/block/253:5/slaves/vda/dev": "254:0"},
        ),
        # A file on a plain disk, by way of a loop device.
        (Rest.PLAIN, {"/sys/dev/block/253:5/loop/backing_file": "/srv/spool.img\n"}),
        # A device that is on itself, as no device is.
        (Rest.UNKNOWN, {"/sys/dev/block/253:5/slaves/dm-5/dev": "253:5"}),
    ],
)
def test_devices(expected: Rest, files: Mapping[str, str], tmp_path: Path) -> None:
    """What a device is made of, down to the bottom."""
    volume = mounted("253:5", "ext4", "/dev/mapper/vg-spool")

    assert expected is rest_of(host_with(tmp_path, PLAIN_DISK, volume, files), SPOOL)


def test_the_deepest_mount_counts(tmp_path: Path) -> None:
    """Not that of a directory whose name begins like it; escapes are undone."""
    text = PLAIN_ROOT + (
        "40 22 254:1 / /var/spool rw - ext4 /dev/vdb rw\n"
        "41 22 254:2 / /var/spool\\040old rw - ext4 /dev/vdc rw\n"
    )
    known = mounts(host_with(tmp_path, {"/proc/self/mountinfo": text}))

    for point, path in (
        ("/var/spool", "/var/spool/postfix"),
        ("/", "/var/spoolers"),
        ("/var/spool old", "/var/spool old/x"),
    ):
        found = mount_of(known, path)
        assert found is not None
        assert point == found.point
