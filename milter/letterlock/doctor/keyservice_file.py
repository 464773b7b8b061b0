"""What the doctor must know of keyservice.toml. The key service itself reads all of it."""

from pathlib import Path

import msgspec

from letterlock.errors import ConfigError

_METHOD = "openpgpkey"


class Discovery(msgspec.Struct, frozen=True):
    """How others' certificates are looked for."""

    methods: tuple[str, ...] = ("wkd", _METHOD)
    resolver: str = "127.0.0.1:53"
    signed_name: str = "."
    bogus_name: str = "dnssec-failed.org."
    proxy: str = ""

    @property
    def needs_dnssec(self) -> bool:
        """Whether a method is used that rests on it."""
        return _METHOD in self.methods and not self.proxy


class Redis(msgspec.Struct, frozen=True):
    """The cache; none if the URL is empty."""

    url: str = "unix:///run/redis/redis-server.sock"
    secret_file: str = "/etc/letterlock/cache.key"  # noqa: S105 (a path)


class Door(msgspec.Struct, frozen=True):
    """Where it listens for others than the milter."""

    socket: str = ""
    tcp: str = ""


class ClientAuthority(msgspec.Struct, frozen=True):
    """The authority for client certificates."""

    passphrase_file: str = ""
    trusted_file: str = ""


class KeyServiceFile(msgspec.Struct, frozen=True):
    """Part of it; unknown names are the key service's business."""

    socket: str = "/run/letterlock/keyservice.sock"
    tcp: str = ""
    metrics: str = "127.0.0.1:9465"
    database_password_file: str = ""
    redis: Redis = Redis()
    discovery: Discovery = Discovery()
    public: Door = Door()
    client_ca: ClientAuthority = ClientAuthority()
    socketmap: Door = Door()
    domains: dict[str, object] = {}

    @property
    def ports(self) -> list[str]:
        """Every HOST:PORT that it listens on."""
        return [p for p in (self.metrics, self.tcp, self.public.tcp, self.socketmap.tcp) if p]

    @property
    def secrets(self) -> list[str]:
        """Every file with a secret that it reads."""
        signing = self.redis.secret_file if self.redis.url else ""
        files = (signing, self.client_ca.passphrase_file, self.database_password_file)
        return [file for file in files if file]


def load(path: Path) -> KeyServiceFile | None:
    """Return it, or None if it is not on this host. Raises ConfigError."""
    try:
        return msgspec.toml.decode(path.read_bytes(), type=KeyServiceFile)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
