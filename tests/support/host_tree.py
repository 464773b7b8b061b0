"""A directory that looks like a host: files of /proc and /sys, as a test wants them."""

from collections.abc import Mapping
from pathlib import Path

from letterlock.doctor.host import Host

PLAIN_ROOT = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
"""A mount of an ext4 on /dev/vda, a line of mountinfo."""

PLAIN_DISK = {"/sys/dev/block/254:0/size": "1"}


def host_with(directory: Path, *parts: Mapping[str, str], clock: bool = True) -> Host:
    """Return a host whose files are those of `parts`; `clock`: somebody keeps it right."""
    for files in parts:
        for name, text in files.items():
            path = directory / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return _Host(directory, clock=clock)


class _Host(Host):
    def __init__(self, root: Path, *, clock: bool) -> None:
        super().__init__(root)
        self._clock = clock

    def block_device(self, path: object) -> str | None:
        # A test cannot make device nodes; /dev/NAME is a file that holds the number.
        return self.read(str(path))

    def is_clock_synchronised(self) -> bool:
        return self._clock
