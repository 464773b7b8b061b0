"""What outlives a power cut."""

import os
from pathlib import Path


def sync(path: Path, flags: int = os.O_DIRECTORY) -> None:
    """Return when the file or directory is on its disk; `flags` as open(2) has them.

    Of a directory it is what was linked and unlinked in it. Raises OSError.
    """
    descriptor = os.open(path, os.O_RDONLY | flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
