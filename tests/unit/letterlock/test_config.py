"""The configuration says what is wrong with it, and its example is true."""

import re
from pathlib import Path

import msgspec
import pytest

from letterlock.config import Config, load, read_secret
from letterlock.errors import ConfigError

EXAMPLE = Path(__file__).parents[3] / "milter" / "letterlock.toml"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "letterlock.toml"
    path.write_text(text)
    return path


def test_every_option_of_the_example_shows_its_default(tmp_path):
    """Removing all the # from the option lines changes nothing, and no option is missing."""
    text = EXAMPLE.read_text()
    active = re.sub(r"^#(?=[a-z_]+ = )", "", text, flags=re.MULTILINE)

    assert Config() == load(written(tmp_path, active))
    for name in _names(msgspec.to_builtins(Config())):
        assert re.search(rf"^#{name} = ", text, re.MULTILINE), name


def _names(options: dict) -> list[str]:
    return [
        inner
        for name, value in options.items()
        for inner in (_names(value) if isinstance(value, dict) else [name])
    ]


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("sockets", 'sockets = "unix:/x"'),
        ("keyservice", "[keyservice]\ndeadline = 3"),
        ("socket", 'socket = "/run/x"'),
        ("socket", 'socket = "inet:somewhere"'),
        ("workers", "workers = 0"),
        ("authserv_id", 'authserv_id = "two words"'),
        ("metrics", 'metrics = "9464"'),
        ("submission.socket", 'socket = "unix:/a"\n[submission]\nsocket = "unix:/a"'),
        ("postfix.reentry", '[postfix]\nreentry = "192.0.2.1:10027"'),
        ("keyservice.deadline_seconds", "[keyservice]\ndeadline_seconds = 0.0"),
        ("spill.threshold_octets", "[spill]\nthreshold_octets = 1"),
        ("letterlock.toml", "not toml"),
    ],
)
def test_a_wrong_configuration_is_refused_by_name(key, text, tmp_path):
    """The operator reads which option is wrong."""
    with pytest.raises(ConfigError, match=re.escape(key)):
        load(written(tmp_path, text))


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    """Not found is not the same as empty."""
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "none.toml")


@pytest.mark.parametrize("content", [None, b"short\n"])
def test_a_secret_must_be_there_and_long(content, tmp_path):
    """Without it Redis could say what it likes."""
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigError, match="secret_file"):
        read_secret(str(path))


def test_a_line_end_is_no_part_of_the_secret(tmp_path):
    """Editors add one, and the key service must read the same."""
    (tmp_path / "key").write_bytes(b"x" * 32 + b"\n")

    assert b"x" * 32 == read_secret(str(tmp_path / "key"))
