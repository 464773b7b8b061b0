"""Whether Redis answers a daemon of ours, and lets it do no more than it needs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import redis

from keyservice.client import connect
from letterlock.doctor.accounts import KEYSERVICE_ACCOUNT, MILTER_ACCOUNT
from letterlock.postfix_findings import Finding, Severity

_SECONDS = 3.0
_ANSWER = "letterlock:answer:1:doctor"
_MARKER = "letterlock:copy:doctor"
_COUNT = "letterlock:public:1:doctor"


@dataclass(frozen=True, slots=True)
class Client:
    """A daemon of ours, and what it needs in Redis."""

    name: str
    account: str
    settings: str
    """Where its URL is."""

    needed: tuple[tuple[str, ...], ...]
    not_needed: tuple[tuple[str, ...], ...]
    """Harmless, as are those needed: nothing of anybody's is read or changed."""

    if_silent: str
    """What follows when Redis does not answer."""

    if_denied: str
    """What follows when it refuses something that is needed."""


_OTHERS = (("CONFIG", "GET", "maxmemory"), ("GETRANGE", "doctor-of-somebody-else", "0", "0"))
_NOT_KEPT = (
    "answers are neither kept in it nor removed: each lookup comes to the key service, and what "
    "was withdrawn can count for 300 seconds more"
)

MILTER = Client(
    name="the milter",
    account=MILTER_ACCOUNT,
    settings="letterlock.toml",
    needed=(
        ("PING",),
        ("GETRANGE", _ANSWER, "0", "0"),
        ("CLIENT", "TRACKING", "OFF"),
        ("SET", _MARKER, "", "EX", "1"),
        ("GET", _MARKER),
        ("DEL", _MARKER),
    ),
    not_needed=(*_OTHERS, ("SET", _ANSWER, "", "EX", "1")),
    if_silent="each lookup asks the key service instead; if that ends as well, mail is deferred",
    if_denied="lookups ask the key service instead, and a retry can deliver copies twice",
)

KEYSERVICE = Client(
    name="the key service",
    account=KEYSERVICE_ACCOUNT,
    settings="keyservice.toml",
    needed=(
        ("PING",),
        ("GETRANGE", _ANSWER, "0", "0"),
        ("SET", _ANSWER, "", "EX", "1"),
        ("DEL", _ANSWER),
        ("INCRBY", _COUNT, "1"),
        ("EXPIRE", _COUNT, "1"),
    ),
    not_needed=_OTHERS,
    if_silent=_NOT_KEPT,
    if_denied=_NOT_KEPT,
)


class Rights(NamedTuple):
    """What Redis did when it was asked."""

    failure: str = ""
    """Why nothing could be asked; empty: it answers."""

    denied: tuple[str, ...] = ()
    """What is needed and not allowed."""

    beyond: tuple[str, ...] = ()
    """What is allowed and not needed."""


Ask = Callable[[Client, str], Rights]


def allowed(client: Client, url: str, rights: Rights) -> Iterator[Finding]:
    """Redis answers, and its ACL fits."""
    where = f"Redis ({_without_password(url)})"
    acl = f"ACL of {client.name}'s account: docs/operating.md, Redis"
    if rights.failure:
        line = f"start it, or correct [redis] url in {client.settings}"
        what = f"no answer to {client.name}: {rights.failure}"
        yield Finding(where, line, client.if_silent, Severity.FAULT, what)
    if rights.denied:
        what = f"it denies {client.name} {', '.join(rights.denied)}"
        yield Finding(where, acl, client.if_denied, Severity.FAULT, what)
    if rights.beyond:
        reason = "answers are signed, so no mail is at stake, but all else that is in this Redis is"
        what = f"it allows what is not needed by {client.name}: {', '.join(rights.beyond)}"
        yield Finding(where, acl, reason, Severity.NOTE, what)


def ask(client: Client, url: str) -> Rights:
    """Find out, or say why not."""
    try:
        server = connect(url, _SECONDS)
        denied = [command for command in client.needed if not _may(server, command)]
        beyond = [command for command in client.not_needed if _may(server, command)]
    except (redis.RedisError, OSError, ValueError) as error:
        return Rights(failure=_in_words(error))
    with suppress(redis.RedisError, OSError):
        server.close()
    return Rights(denied=_names(denied), beyond=_names(beyond))


def _may(server: redis.Redis, command: Sequence[str]) -> bool:
    try:
        server.execute_command(*command)  # type: ignore[no-untyped-call]  # redis-py
    except redis.exceptions.NoPermissionError:
        return False
    return True


def _names(commands: Sequence[Sequence[str]]) -> tuple[str, ...]:
    return tuple(" ".join(command[:2]) for command in commands)


def _in_words(error: Exception) -> str:
    match error:
        case redis.exceptions.AuthenticationError():
            return "it refuses the account or the password"
        case redis.exceptions.TimeoutError():
            return "it takes too long"
        case ValueError():
            return "the URL is none"
        case _:
            return "it cannot be reached"


def _without_password(url: str) -> str:
    # In the options as well there may be one.
    scheme, slashes, rest = url.partition("?")[0].partition("://")
    return f"{scheme}{slashes}{rest.rpartition('@')[2]}"
