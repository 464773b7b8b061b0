"""The milter's configuration: one TOML file, read once, frozen.

`letterlock.toml` beside this package is the annotated example. What mailboxes are treated
like is not here: that is policy, and the key service's, so that all MX hosts agree.
"""

import socket
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

import msgspec

from keyservice.client import Endpoint, connect
from letterlock import service_manager
from letterlock.errors import ConfigError
from letterlock.own_fields import Marker, UnprintableField

SECRET_OCTETS_MIN = 32
"""HMAC-SHA256 wants a key as long as its output (RFC 2104 §3)."""

SOCKET_PATH_OCTETS_MAX = 107
"""unix(7)."""

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Positive = Annotated[float, msgspec.Meta(gt=0)]


class PostfixSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The Postfix instance in front of us."""

    config_directory: str = "/etc/postfix"
    reentry: str = "127.0.0.1:10027"


class KeyServiceSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the key service listens, and how long it may take."""

    socket: str = "/run/letterlock/keyservice.sock"
    deadline_seconds: Positive = 5.0
    stale_seconds: Annotated[int, msgspec.Meta(ge=0, le=86_400)] = 3600


class RedisSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The cache of signed answers."""

    url: str = "unix:///run/redis/redis-server.sock"
    secret_file: str = "/etc/letterlock/cache.key"  # noqa: S105 (a path)


class SpillSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where ciphertext goes that is too large for memory."""

    directory: str = "/var/lib/letterlock/spill"
    threshold_octets: Annotated[int, msgspec.Meta(ge=65_536)] = 1_048_576


class AuthenticationSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is found out about mail that comes in, or taken from a filter before us."""

    enabled: bool = True
    trusted: tuple[str, ...] = ()
    nameserver: str = ""
    deadline_seconds: Positive = 10.0
    spam_field: str = ""
    unjudged_is_spam: bool = True
    report: bool = True
    report_queue: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1000


class SubmissionSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The other role: mail that our own users hand in. Without a socket there is none."""

    socket: str = ""
    workers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 2
    dkim_directory: str = "/etc/letterlock/dkim"
    signature_days: Annotated[int, msgspec.Meta(ge=0, le=365)] = 0
    lookup_seconds: Positive = 10.0

    @property
    def is_on(self) -> bool:
        """Whether there is one."""
        return bool(self.socket)


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of it."""

    socket: str = "unix:/var/spool/postfix/letterlock/milter.sock"
    socket_group: str = "postfix"
    socket_mode: Annotated[int, msgspec.Meta(ge=0, le=0o777)] = 0o660
    workers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 2
    drain_seconds: Positive = 20.0
    metrics: str = "127.0.0.1:9464"
    authserv_id: str = ""
    postfix: PostfixSection = PostfixSection()
    keyservice: KeyServiceSection = KeyServiceSection()
    redis: RedisSection = RedisSection()
    spill: SpillSection = SpillSection()
    authentication: AuthenticationSection = AuthenticationSection()
    submission: SubmissionSection = SubmissionSection()

    @property
    def name(self) -> str:
        """The authserv-id (RFC 8601 §2.5) under which our marker field is written."""
        return self.authserv_id or socket.getfqdn()


def load(path: Path) -> Config:
    """Return the configuration in `path`, or raise ConfigError naming what is wrong."""
    try:
        config = msgspec.toml.decode(path.read_bytes(), type=Config)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    _require_sound(config)
    return config


def host_and_port(text: str, key: str) -> tuple[str, int]:
    """Split `HOST:PORT`, or raise ConfigError naming `key`."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigError(f"{key}: expected HOST:PORT")
    return host.strip("[]"), int(port)


def read_secret(path: str) -> bytes:
    """Return the secret shared with the key service, without its final line end."""
    try:
        secret = service_manager.credential(Path(path)).read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise ConfigError(f"redis.secret_file: {path}: {error.strerror}") from None
    if len(secret) < SECRET_OCTETS_MIN:
        raise ConfigError(f"redis.secret_file: {path}: shorter than {SECRET_OCTETS_MIN} octets")
    return secret


def _require_sound(config: Config) -> None:
    host_and_port(config.metrics, "metrics")
    host, _ = host_and_port(config.postfix.reentry, "postfix.reentry")
    # The re-entry port takes mail without a milter: what goes there must not leave the host.
    if host not in ("127.0.0.1", "::1", "localhost"):
        raise ConfigError("postfix.reentry: must be a loopback address")
    try:
        Marker(config.name, "0" * 40)
    except UnprintableField:
        raise ConfigError("authserv_id: letters, digits, dots, dashes and underscores") from None
    _require_address(config.socket, "socket")
    if config.submission.is_on:
        _require_address(config.submission.socket, "submission.socket")
        if config.submission.socket == config.socket:
            raise ConfigError("submission.socket: must be another than socket")
    if config.authentication.nameserver:
        host, _ = host_and_port(config.authentication.nameserver, "authentication.nameserver")
        _require(lambda: ip_address(host), "authentication.nameserver", "expected an IP address")
    _require(lambda: Endpoint.parse(config.keyservice.socket), "keyservice.socket")
    # Nothing is sent yet.
    _require(lambda: connect(config.redis.url), "redis.url")


def _require(parse: Callable[[], object], key: str, expected: str = "") -> None:
    try:
        parse()
    except ValueError as error:
        raise ConfigError(f"{key}: {expected or error}") from None


def _require_address(text: str, key: str) -> None:
    kind, colon, rest = text.partition(":")
    if kind not in ("unix", "inet") or not colon or not rest:
        raise ConfigError(f"{key}: expected unix:PATH or inet:HOST:PORT")
    if kind == "inet":
        host_and_port(rest, key)
    elif len(rest.encode(errors="replace")) > SOCKET_PATH_OCTETS_MAX:
        raise ConfigError(f"{key}: a path of more than {SOCKET_PATH_OCTETS_MAX} octets")
