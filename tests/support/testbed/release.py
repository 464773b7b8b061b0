"""Releases as `ansible/wheelhouse` packs them, of this tree under any version."""

import re
import shutil
import subprocess
from pathlib import Path

_ROOT = Path(__file__).parents[3]

_PACKED = [
    "LICENSE",
    "README.md",
    "ansible/wheelhouse",
    "keyservice",
    "milter",
    "postfix-conf",
    "pyproject.toml",
    "requirements-build.txt",
    "requirements.txt",
]


def pack(version: str, directory: Path) -> Path:
    """Return the archive of this tree, made in `directory`, as release `version`."""
    source = directory / f"source-{version}"
    for name in _PACKED:
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (_ROOT / name).is_dir():
            shutil.copytree(_ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(_ROOT / name, target)
    project = source / "pyproject.toml"
    text, number = re.subn(r'(?m)^version = ".*"$', f'version = "{version}"', project.read_text())
    assert number == 1
    project.write_text(text)
    # What others made is packed once, and kept.
    (_ROOT / ".dev").mkdir(exist_ok=True)
    (source / ".dev").symlink_to(_ROOT / ".dev")
    line = [str(source / "ansible" / "wheelhouse"), str(directory)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"wheelhouse: {done.stderr[-3000:]}")
    shutil.rmtree(source)
    return Path(done.stdout.strip())
