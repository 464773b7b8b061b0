"""What pip fetches for a release: a directory in place of the index, as hosts have no way out."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[3]
_LOCKS = ["requirements-build.txt", "requirements.txt"]


def distributions() -> Path:
    """Return the directory, filled now or by an earlier run; pymilter is in it as source."""
    octets = b"".join((_ROOT / name).read_bytes() for name in _LOCKS)
    path = _ROOT / ".dev" / f"distributions-{hashlib.sha256(octets).hexdigest()[:12]}"
    if path.exists():
        return path
    scratch = path.with_suffix(".making")
    shutil.rmtree(scratch, ignore_errors=True)
    line = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download"]
    line += ["--require-hashes", "--no-deps", "--no-build-isolation", "--no-binary=pymilter"]
    line += [f"--requirement={_ROOT / name}" for name in _LOCKS]
    done = subprocess.run([*line, f"--dest={scratch}"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"pip download: {done.stderr[-3000:]}")
    for other in path.parent.glob("distributions-*"):
        if other != scratch:
            shutil.rmtree(other)
    return scratch.rename(path)
