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
    """The cache."""

    secret_file: str = "/etc/letterlock/cache.key"  # noqa: S105 (a path)


class ClientAuthority(msgspec.Struct, frozen=True):
    """The authority for client certificates."""

    passphrase_file: str = ""
    trusted_file: str = ""


class KeyServiceFile(msgspec.Struct, frozen=True):
    """Part of it; unknown names are the key service's business."""

    socket: str = "/run/letterlock/keyservice.sock"
    tcp: str = ""
    metrics: str = "127.0.0.1:9465"
    redis: Redis = Redis()
    discovery: Discovery = Discovery()
    client_ca: ClientAuthority = ClientAuthority()
    domains: dict[str, object] = {}


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
