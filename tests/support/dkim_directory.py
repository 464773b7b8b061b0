"""A directory as `letterlock dkim-key` keeps it, with keys that sign; made once for a domain."""

import atexit
import shutil
import tempfile
import time
from functools import cache
from pathlib import Path

from letterlock.dkim.domain_keys import DomainKeys
from letterlock.dkim.key_record import PUBLISHED


def write_keys(directory: Path, domain: str) -> None:
    """Put active keys of `domain` into `directory`: always the same."""
    shutil.copytree(_keys(domain), directory, dirs_exist_ok=True)


@cache
def _keys(domain: str) -> Path:
    directory = Path(tempfile.mkdtemp(prefix="dkim-"))
    atexit.register(shutil.rmtree, directory)
    keys = DomainKeys(directory, domain)
    now = int(time.time())
    keys.generate(2048, now)
    keys.activate(lambda *_: PUBLISHED, now)
    return directory
