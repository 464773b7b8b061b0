"""The key service's configuration: one TOML file, read once, frozen.

`keyservice.toml` beside this package is the annotated example.
"""

import re
import stat
from pathlib import Path

import msgspec

from keyservice import policy, postgresql, service_manager
from keyservice.autocrypt import PreferEncrypt
from keyservice.errors import BadSetting, ConfigError
from keyservice.levels import METHODS, Level, Source
from keyservice.mailbox import InvalidMailbox, Mailbox
from keyservice.replacement import Mode
from keyservice.sender_wire import Outgoing
from keyservice.wire import ArrivedEncrypted, HeaderPolicy, WithoutCertificate

SECRET_OCTETS_MIN = 32
"""HMAC-SHA256 wants a key as long as its output (RFC 2104 §3)."""

SOCKET_PATH_OCTETS_MAX = 107
"""unix(7)."""

_HOST = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]*")
"""RFC 9110 §5.6.2, or nothing."""

_CA_NAME = re.compile(r"[0-9A-Za-z]([0-9A-Za-z ._-]{0,43}[0-9A-Za-z.])?")
"""With what follows it at most 64 octets (X.520 ub-common-name), which Postfix passes unchanged."""


class RedisSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The cache of signed answers."""

    url: str = "unix:///run/redis/redis-server.sock"
    secret_file: str = "/etc/letterlock/cache.key"  # noqa: S105 (a path)


class DomainSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A domain whose mailboxes are ours, and how they are treated; absent: the default."""

    without_certificate: WithoutCertificate | None = None
    header_policy: HeaderPolicy | None = None
    arrived_encrypted: ArrivedEncrypted | None = None
    keep_outside: tuple[str, ...] | None = None
    mailer: str | None = None
    outgoing: Outgoing | None = None
    outgoing_level: Level | None = None
    copy_to_self: bool | None = None
    autocrypt: bool | None = None
    prefer_encrypt: PreferEncrypt | None = None
    autocrypt_enrols: bool | None = None
    published: bool = False
    """Whether the public listener shows its certificates; no part of the policy."""

    @property
    def settings(self) -> dict[str, object]:
        """What the operator wrote down of the policy."""
        written: dict[str, object] = msgspec.to_builtins(self)
        written.pop("published", None)
        return written


class DiscoverySection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How certificates of mailboxes that are not ours are looked for and chosen."""

    methods: tuple[Source, ...] = (Source.WKD, Source.OPENPGPKEY)
    deadline: float = 5.0
    resolver: str = "127.0.0.1:53"
    signed_name: str = "."
    bogus_name: str = "dnssec-failed.org."
    proxy: str = ""
    vks: str = ""
    hkp: str = ""
    first_contact: Level = Level.PROVIDER_TRUST
    mode: Mode = Mode.HOLD
    hold_days: int = 7

    @property
    def asked(self) -> tuple[Source, ...]:
        """The methods in their order; the DNS cannot be asked through a proxy."""
        return tuple(m for m in self.methods if not (self.proxy and m is Source.OPENPGPKEY))


class NoticesSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How owners are told about their certificates; without `smtp` they are not."""

    smtp: str = ""
    sender: str = ""


class PublicSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The listener for everybody; without a socket and a port there is none."""

    socket: str = ""
    socket_group: str = ""
    tcp: str = ""
    requests_per_minute: int = 60
    client_address_header: str = ""

    @property
    def is_on(self) -> bool:
        """Whether there is one."""
        return bool(self.socket or self.tcp)


class ClientCASection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The authority for client certificates; without a passphrase nothing is issued."""

    name: str = "Letterlock"
    passphrase_file: str = ""
    trusted_file: str = ""
    months: int = 12


class SocketmapSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where Postfix asks about client certificates; without a socket and a port nowhere."""

    socket: str = ""
    socket_group: str = ""
    tcp: str = ""


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of it."""

    socket: str = "/run/letterlock/keyservice.sock"
    socket_group: str = ""
    tcp: str = ""
    metrics: str = "127.0.0.1:9465"
    database: str = "/var/lib/letterlock-keyservice/keyservice.sqlite"
    database_password_file: str = ""
    redis: RedisSection = RedisSection()
    public: PublicSection = PublicSection()
    notices: NoticesSection = NoticesSection()
    discovery: DiscoverySection = DiscoverySection()
    client_ca: ClientCASection = ClientCASection()
    socketmap: SocketmapSection = SocketmapSection()
    domains: dict[str, DomainSection] = {}


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


def read_secret(config: Config) -> bytes:
    """Return the secret that signs what rests in Redis, without its final line end."""
    path, secret = _read(config.redis.secret_file, "redis.secret_file")
    if len(secret) < SECRET_OCTETS_MIN:
        raise ConfigError(f"redis.secret_file: {path}: shorter than {SECRET_OCTETS_MIN} octets")
    return secret


def read_database(config: Config) -> Path | postgresql.Server:
    """Return where the database is, with the password if there is one to be read."""
    if not postgresql.is_postgresql(config.database):
        return Path(config.database)
    password = b""
    if config.database_password_file:
        path, password = _read(config.database_password_file, "database_password_file")
        if not password.isascii() or not password:
            raise ConfigError(f"database_password_file: {path}: no password")
    return postgresql.server(config.database, password.decode())


def host_and_port(text: str, key: str) -> tuple[str, int]:
    """Split loopback `HOST:PORT`, or raise ConfigError naming `key`."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigError(f"{key}: expected HOST:PORT")
    # There is no authentication: whoever reaches the port may enrol certificates, or (on
    # the public one) say by which address he asks.
    if host not in ("127.0.0.1", "[::1]"):
        raise ConfigError(f"{key}: the host must be 127.0.0.1 or [::1]")
    return host.strip("[]"), int(port)


def _read(file: str, key: str) -> tuple[Path, bytes]:
    """Return where a secret was found, and the secret without its final line end."""
    path = service_manager.credential(Path(file))
    try:
        mode = path.stat().st_mode
        secret = path.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise ConfigError(f"{key}: {path}: {error.strerror}") from None
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        raise ConfigError(f"{key}: {path}: everybody may read or write it")
    return path, secret


def _require_sound(config: Config) -> None:
    if not config.database.startswith(("/", *postgresql.SCHEMES)):
        raise ConfigError("database: expected an absolute path, or postgresql://")
    if not config.socket:
        raise ConfigError("socket: expected an absolute path")
    _require_path(config.socket, "socket")
    if config.tcp:
        host_and_port(config.tcp, "tcp")
    if config.metrics:
        host_and_port(config.metrics, "metrics")
    _require_public(config.public)
    _require_notices(config.notices)
    _require_discovery(config.discovery)
    _require_client_ca(config.client_ca)
    _require_socketmap(config.socketmap)
    if not config.domains:
        raise ConfigError("domains: name at least one; mail for any other is stored as it is")
    for name, section in config.domains.items():
        _require_domain(name)
        try:
            policy.parse(section.settings)
        except BadSetting as error:
            raise ConfigError(f'domains."{name}": {error}') from None


def _require_path(path: str, key: str) -> None:
    """Raise ConfigError unless `path` is absolute and short enough, or empty."""
    if path and not path.startswith("/"):
        raise ConfigError(f"{key}: expected an absolute path")
    if len(path.encode(errors="replace")) > SOCKET_PATH_OCTETS_MAX:
        raise ConfigError(f"{key}: a path of more than {SOCKET_PATH_OCTETS_MAX} octets")


def _require_public(public: PublicSection) -> None:
    _require_path(public.socket, "public.socket")
    if public.tcp:
        host_and_port(public.tcp, "public.tcp")
    if public.requests_per_minute < 1:
        raise ConfigError("public.requests_per_minute: expected 1 or more")
    if not _TOKEN.fullmatch(public.client_address_header):
        raise ConfigError("public.client_address_header: not a header field name")


def _require_notices(notices: NoticesSection) -> None:
    if notices.smtp:
        host_and_port(notices.smtp, "notices.smtp")
    try:
        is_ascii = not notices.sender or str(Mailbox.parse(notices.sender)).isascii()
    except InvalidMailbox as error:
        raise ConfigError(f"notices.sender: {error}") from None
    if not is_ascii:
        raise ConfigError("notices.sender: must be ASCII")


def _require_discovery(discovery: DiscoverySection) -> None:
    if any(method not in METHODS for method in discovery.methods):
        names = ", ".join(method.value for method in METHODS)
        raise ConfigError(f"discovery.methods: expected some of {names}")
    if len(set(discovery.methods)) < len(discovery.methods):
        raise ConfigError("discovery.methods: one is there twice")
    host_and_port(discovery.resolver, "discovery.resolver")
    if discovery.proxy:
        host_and_port(discovery.proxy, "discovery.proxy")
    for method, host in ((Source.VKS, discovery.vks), (Source.HKP, discovery.hkp)):
        if (host or method in discovery.methods) and not _HOST.fullmatch(host):
            raise ConfigError(f"discovery.{method.value}: expected the name of a keyserver")
    if not 0.5 <= discovery.deadline <= 30:
        raise ConfigError("discovery.deadline: expected 0.5 to 30 seconds")
    if not 0 <= discovery.hold_days <= 90:
        raise ConfigError("discovery.hold_days: expected 0 to 90")


def _require_client_ca(client_ca: ClientCASection) -> None:
    if not _CA_NAME.fullmatch(client_ca.name):
        raise ConfigError("client_ca.name: expected up to 45 letters, digits, blanks, . _ or -")
    for key in ("passphrase_file", "trusted_file"):
        path = getattr(client_ca, key)
        if path and not path.startswith("/"):
            raise ConfigError(f"client_ca.{key}: expected an absolute path")
    if not 1 <= client_ca.months <= 36:
        raise ConfigError("client_ca.months: expected 1 to 36")


def _require_socketmap(socketmap: SocketmapSection) -> None:
    _require_path(socketmap.socket, "socketmap.socket")
    if socketmap.tcp:
        host_and_port(socketmap.tcp, "socketmap.tcp")


def _require_domain(name: str) -> None:
    try:
        domain = Mailbox.parse(f"postmaster@{name}").domain
    except InvalidMailbox as error:
        raise ConfigError(f'domains."{name}": {error}') from None
    if domain != name:
        raise ConfigError(f'domains."{name}": write it as "{domain}"')
