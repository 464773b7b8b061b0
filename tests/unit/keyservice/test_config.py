"""The configuration: documented by its example, refused when something is wrong."""

import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from keyservice import config, policy
from keyservice.config import Config, load, read_secret
from keyservice.errors import ConfigError
from keyservice.sender_wire import SenderPolicy
from keyservice.wire import MailboxPolicy

EXAMPLE = Path(config.__file__).parents[1] / "keyservice.toml"


def written(directory: Path, text: str) -> Path:
    """Return a file with `text`."""
    path = directory / "keyservice.toml"
    path.write_text(text)
    return path


def uncommented() -> str:
    """Return the example with every option, and the one domain, switched on."""
    return re.sub(r"^#(?=[a-z_]+ = |\[domains)", "", EXAMPLE.read_text(), flags=re.MULTILINE)


def test_the_example_shows_every_option_with_its_default(tmp_path: Path) -> None:
    """Removing all the # changes nothing, and no option is missing."""
    loaded = load(written(tmp_path, uncommented()))

    assert Config() == msgspec.structs.replace(loaded, domains={})
    in_force = policy.parse(loaded.domains["example.org"].settings)
    assert (MailboxPolicy(), SenderPolicy()) == in_force
    assert set(policy.SETTINGS) == set(loaded.domains["example.org"].settings)


def test_a_service_without_domains_does_not_start() -> None:
    """It would know no mailbox, and all mail would be stored as it is."""
    with pytest.raises(ConfigError, match="domains"):
        load(EXAMPLE)


def test_every_option_has_its_four_parts() -> None:
    """What for, caveat, example, default."""
    for block in re.split(r"\n\n", EXAMPLE.read_text()):
        for option in re.findall(r"^#([a-z_]+) = ", block, re.MULTILINE):
            lines = block.splitlines()
            assert re.search(rf"^# Example: {option} = ", block, re.MULTILINE), option
            assert "# Default:" == lines[-2]
            assert len(lines) >= 5, option


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("sockets", 'sockets = "/x"'),
        ("ttl", "[redis]\nttl = 3"),
        ("socket", 'socket = "relative"'),
        ("tcp", 'tcp = "192.0.2.1:80"'),
        ("metrics", 'metrics = "0.0.0.0:80"'),
        ("metrics", 'metrics = "127.0.0.1:high"'),
        ("without_certificate", '[domains."example.org"]\nwithout_certificate = "plaintext"'),
        ("example.org", '[domains."example.org"]\nkeep_outside = ["Content-Type"]'),
        ("outgoing", '[domains."example.org"]\noutgoing = "always"'),
        ("outgoing_level", '[domains."example.org"]\noutgoing_level = 0'),
        ("copy_to_self", '[domains."example.org"]\ncopy_to_self = "yes"'),
        ("Example.ORG", '[domains."Example.ORG"]'),
        ("exa mple", '[domains."exa mple"]'),
        ("header", '[domains."example.org"]\nheader = "x"'),
        ("published", '[domains."example.org"]\npublished = "yes"'),
        ("public.socket", '[public]\nsocket = "public.sock"'),
        ("public.tcp", '[public]\ntcp = "0.0.0.0:80"'),
        ("public.requests_per_minute", "[public]\nrequests_per_minute = 0"),
        ("public.client_address_header", '[public]\nclient_address_header = "X-Real-IP:"'),
        ("notices.smtp", '[notices]\nsmtp = "mx.example.org:25"'),
        ("notices.sender", '[notices]\nsender = "postmaster"'),
        ("notices.sender", '[notices]\nsender = "größe@example.org"'),
        ("discovery.methods", '[discovery]\nmethods = ["operator"]'),
        ("methods", '[discovery]\nmethods = ["finger"]'),
        ("discovery.methods", '[discovery]\nmethods = ["wkd", "wkd"]'),
        ("discovery.resolver", '[discovery]\nresolver = "9.9.9.9:53"'),
        ("discovery.proxy", '[discovery]\nproxy = "tor.example:9050"'),
        ("discovery.vks", '[discovery]\nmethods = ["vks"]'),
        ("discovery.hkp", '[discovery]\nhkp = "https://keyserver.example/"'),
        ("discovery.deadline", "[discovery]\ndeadline = 600"),
        ("discovery.hold_days", "[discovery]\nhold_days = -1"),
        ("client_ca.name", '[client_ca]\nname = "Größe"'),
        ("client_ca.name", f'[client_ca]\nname = "{"x" * 46}"'),
        ("client_ca.passphrase_file", '[client_ca]\npassphrase_file = "ca"'),
        ("client_ca.trusted_file", '[client_ca]\ntrusted_file = "ca.pem"'),
        ("client_ca.months", "[client_ca]\nmonths = 0"),
        ("socketmap.socket", '[socketmap]\nsocket = "map.sock"'),
        ("socketmap.tcp", '[socketmap]\ntcp = "0.0.0.0:8467"'),
        ("first_contact", "[discovery]\nfirst_contact = 9"),
        ("mode", '[discovery]\nmode = "trusting"'),
        ("toml", "socket = "),
    ],
)
def test_a_bad_option_is_named(tmp_path: Path, key: str, text: str) -> None:
    """The operator reads which one."""
    with pytest.raises(ConfigError, match=re.escape(key)):
        load(written(tmp_path, text))


@pytest.mark.parametrize(
    ("content", "mode"), [(None, 0), (b"short\n", 0o600), (b"s" * 40, 0o604), (b"s" * 40, 0o602)]
)
def test_a_secret_must_be_there_long_and_secret(
    tmp_path: Path, content: bytes | None, mode: int
) -> None:
    """Its key is named, its content is not."""
    path = tmp_path / "cache.key"
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    settings = Config(redis=config.RedisSection(secret_file=str(path)))

    with pytest.raises(ConfigError, match=r"redis\.secret_file") as caught:
        read_secret(settings)

    assert "sssss" not in str(caught.value)


def test_the_secret_is_read_without_its_line_end(tmp_path: Path) -> None:
    """So that the milter, which does the same, signs alike."""
    path = tmp_path / "cache.key"
    path.write_bytes(b"s" * 40 + b"\r\n")
    path.chmod(0o640)

    assert b"s" * 40 == read_secret(Config(redis=config.RedisSection(secret_file=str(path))))


@pytest.mark.parametrize("text", ['sockets = "/x"', '[redis]\nsecret_file = "/nowhere"'])
def test_a_bad_configuration_ends_in_status_78(tmp_path: Path, text: str) -> None:
    """EX_CONFIG and one line on stderr."""
    path = written(tmp_path, text)
    command = [sys.executable, "-m", "keyservice", "--check", "--config", str(path)]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert (78, 1) == (done.returncode, len(done.stderr.splitlines()))


def test_check_says_nothing_about_a_good_one(tmp_path: Path) -> None:
    """And starts nothing."""
    path = written(tmp_path, '[redis]\nurl = ""\n[domains."example.org"]')
    command = [sys.executable, "-m", "keyservice", "--check", "--config", str(path)]

    done = subprocess.run(command, capture_output=True, timeout=60, check=False)

    assert (0, b"", b"") == (done.returncode, done.stdout, done.stderr)
