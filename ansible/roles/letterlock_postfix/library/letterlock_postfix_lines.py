#!/usr/bin/python3
"""Adds the lines of postfix-conf/ to a Postfix, or takes them out again."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.letterlock_postconf import (
    PostconfFailed,
    Settings,
    read,
    remove_all,
    set_all,
    value_of,
    warnings,
)
from ansible.module_utils.letterlock_postfix_plan import Plan, Record, plan

DOCUMENTATION = r"""
module: letterlock_postfix_lines
short_description: Adds Letterlock's lines to main.cf and master.cf
description:
  - Sets the parameters, options and services of fragments as they are in postfix-conf/, each by
    postconf(1), and remembers what was there before.
  - What it has set and the fragments no longer have becomes what it was, unless somebody has
    changed it since.
  - Works on a copy. Both files are replaced when Postfix has taken every line, or neither.
options:
  fragments:
    description: Files on the host, named C(*main.cf.in) and C(*master.cf.in). None takes all out.
    type: list
    elements: path
    default: []
  tables:
    description: Files C(NAME.in) on the host that are copied beside main.cf as C(NAME).
    type: list
    elements: path
    default: []
  placeholders:
    description: What is written in place of C(@NAME@). C(CHROOT) and C(MYHOSTNAME) are found out.
    type: dict
    default: {}
  directory:
    description: The configuration directory of Postfix.
    type: path
    default: /etc/postfix
  record:
    description: Directory for what was there before. Gone when all was taken out.
    type: path
    default: /var/lib/letterlock-postfix
author: Letterlock
"""

EXAMPLES = r"""
- name: Wire the milter
  letterlock_postfix_lines:
    fragments: [/opt/letterlock/current/postfix-conf/main.cf.in]
    placeholders: {MILTER: "unix:letterlock/milter.sock"}
"""

RETURN = r"""
left:
  description: Names that were to become what they were, but have been changed since.
  type: list
  returned: always
"""

FILES = ("main.cf", "master.cf")


class BadFragment(Exception):
    """A fragment has a placeholder for which nothing was given."""


def main() -> None:
    """Do it."""
    module = AnsibleModule(
        argument_spec={
            "fragments": {"type": "list", "elements": "path", "default": []},
            "tables": {"type": "list", "elements": "path", "default": []},
            "placeholders": {"type": "dict", "default": {}},
            "directory": {"type": "path", "default": "/etc/postfix"},
            "record": {"type": "path", "default": "/var/lib/letterlock-postfix"},
        },
        supports_check_mode=True,
    )
    try:
        with tempfile.TemporaryDirectory() as scratch:
            result = _wire(module, Path(scratch))
    except (PostconfFailed, BadFragment, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


def _wire(module: AnsibleModule, scratch: Path) -> dict[str, object]:
    directory, record = Path(module.params["directory"]), Path(module.params["record"])
    copy = _copied(directory, scratch / "copy")
    placeholders = {**_found_out(copy), **module.params["placeholders"]}
    remembered = Record.of(_remembered(record))
    fragments = _fragments(module.params["fragments"], placeholders, scratch / "fragments")
    made = plan(fragments, read(str(copy)), remembered)
    remove_all(str(copy), made.removals)
    set_all(str(copy), made.settings)
    tables = {
        directory / Path(table).stem: _filled_in(Path(table), placeholders)
        for table in module.params["tables"]
    }
    made.record.tables = sorted(map(str, tables))
    _put_originals_back(copy, record, made)
    texts: dict[Path, str | None] = {Path(gone): None for gone in remembered.tables}
    texts |= tables | {directory / name: (copy / name).read_text() for name in FILES}
    changed = {file: text for file, text in texts.items() if _text(file) != text}
    result = {"changed": bool(changed), "left": made.left, "diff": _diff(changed)}
    if not module.check_mode:
        _replace(module, changed, made.record, remembered)
    return result


def _found_out(copy: Path) -> dict[str, str]:
    smtp = read(str(copy)).services.get("smtp/inet", "smtp inet n - y").split()
    name = re.escape(value_of(str(copy), "myhostname"))
    return {"CHROOT": "y" if smtp[4] == "y" else "n", "MYHOSTNAME": name}


def _copied(directory: Path, copy: Path) -> Path:
    copy.mkdir()
    for name in (*FILES, "dynamicmaps.cf"):
        if (directory / name).exists():
            shutil.copy(directory / name, copy)
    return copy


def _fragments(files: list[str], placeholders: dict[str, str], scratch: Path) -> Settings:
    if not files:
        return Settings()
    scratch.mkdir()
    for name in FILES:
        texts = [_filled_in(Path(f), placeholders) for f in files if f.endswith(f"{name}.in")]
        (scratch / name).write_text("\n".join(texts))
    if said := warnings(str(scratch)):
        raise PostconfFailed(f"Postfix does not take these lines: {'; '.join(sorted(said))}")
    return read(str(scratch))


def _filled_in(file: Path, placeholders: dict[str, str]) -> str:
    text = file.read_text()
    for name, value in placeholders.items():
        text = text.replace(f"@{name}@", value)
    if left := re.findall(r"(?m)^[^#\n]*(@[A-Z_]+@)", text):
        raise BadFragment(f"{file.name}: nothing was given for {', '.join(sorted(set(left)))}")
    return text


def _remembered(record: Path) -> dict[str, object] | None:
    file = record / "record.json"
    return json.loads(file.read_text()) if file.exists() else None


def _put_originals_back(copy: Path, record: Path, made: Plan) -> None:
    """When the same is set as before us, let it be the same files, octet for octet."""
    originals = record / "original"
    if made.record == Record() and originals.exists() and read(str(originals)) == read(str(copy)):
        for name in FILES:
            shutil.copy(originals / name, copy)


def _text(file: Path) -> str | None:
    return file.read_text() if file.exists() else None


def _diff(changed: dict[Path, str | None]) -> list[dict[str, str]]:
    return [
        {
            "before_header": str(file),
            "before": _text(file) or "",
            "after_header": str(file),
            "after": text or "",
        }
        for file, text in changed.items()
    ]


def _replace(
    module: AnsibleModule, changed: dict[Path, str | None], record: Record, remembered: Record
) -> None:
    where = Path(module.params["record"])
    # Before the files change: what is not remembered could not be put back.
    if record not in (remembered, Record()):
        _remember(module, where, record)
    for file, text in changed.items():
        if text is None:
            file.unlink()
        else:
            _write(module, file, text)
    if record == Record() and where.exists():
        shutil.rmtree(where)


def _remember(module: AnsibleModule, record: Path, what: Record) -> None:
    original = record / "original"
    if not original.exists():
        record.mkdir(mode=0o700, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(dir=record))
        for name in FILES:
            shutil.copy2(Path(module.params["directory"]) / name, unfinished)
        unfinished.rename(original)
    _write(module, record / "record.json", json.dumps(what.as_document(), indent=1) + "\n")


def _write(module: AnsibleModule, file: Path, text: str) -> None:
    with tempfile.NamedTemporaryFile("w", delete=False) as written:
        written.write(text)
    # Keeps owner and mode of what is there.
    module.atomic_move(written.name, str(file))


if __name__ == "__main__":
    main()
