"""Debian packages as `ansible/deb/build` makes them, of this tree under any version."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

_ROOT = Path(__file__).parents[3]

# No part of a package.
_ELSEWHERE = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "bench", "dist", "tests")


def version() -> str:
    """Return the version of this tree."""
    found = re.search(r'(?m)^version = "(.*)"$', (_ROOT / "pyproject.toml").read_text())
    assert found
    return found[1]


def build(version: str, directory: Path) -> Path:
    """Return the package of this tree, made in `directory`, as that version."""
    with tempfile.TemporaryDirectory(prefix="ll-deb-") as scratch:
        source = Path(scratch) / "source"
        shutil.copytree(_ROOT, source, ignore=_ELSEWHERE)
        # What others made is packed once, and kept.
        (_ROOT / ".dev").mkdir(exist_ok=True)
        (source / ".dev").symlink_to(_ROOT / ".dev")
        project = source / "pyproject.toml"
        text, count = re.subn(
            r'(?m)^version = ".*"$', f'version = "{version}"', project.read_text()
        )
        assert count == 1
        project.write_text(text)
        line = [str(source / "ansible/deb/build"), str(directory)]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ansible/deb/build: {done.stderr[-3000:]}")
    return Path(done.stdout.strip())
