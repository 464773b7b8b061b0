"""Whether Redis answers the milter, and lets it do no more than it needs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

import redis

from keyservice.client import connect
from letterlock.postfix_findings import Finding, Severity

_SECONDS = 3.0
_ANSWER = "letterlock:answer:1:doctor"
_MARKER = "letterlock:copy:doctor"
_NEEDED: tuple[tuple[str, ...], ...] = (
    ("PING",),
    ("GETRANGE", _ANSWER, "0", "0"),
    ("CLIENT", "TRACKING", "OFF"),
    ("SET", _MARKER, "", "EX", "1"),
    ("GET", _MARKER),
    ("DEL", _MARKER),
)
_NOT_NEEDED: tuple[tuple[str, ...], ...] = (
    ("CONFIG", "GET", "maxmemory"),
    ("GETRANGE", "doctor-of-somebody-else", "0", "0"),
    ("SET", _ANSWER, "", "EX", "1"),
)
"""Harmless, each of them: nothing of anybody's is read or changed."""


class Rights(NamedTuple):
    """What Redis did when it was asked."""

    failure: str = ""
    """Why nothing could be asked; empty: it answers."""

    denied: tuple[str, ...] = ()
    """What is needed and not allowed."""

    beyond: tuple[str, ...] = ()
    """What is allowed and not needed."""


Ask = Callable[[str], Rights]


def allowed(url: str, rights: Rights) -> Iterator[Finding]:
    """Redis answers, and its ACL fits."""
    where = f"Redis ({_without_password(url)})"
    acl = "ACL of the milter's account: docs/operating.md, Redis"
    if rights.failure:
        reason = "each lookup asks the key service instead; if that ends as well, mail is deferred"
        line = "start it, or correct [redis] url in letterlock.toml"
        yield Finding(where, line, reason, Severity.FAULT, f"no answer: {rights.failure}")
    if rights.denied:
        reason = "lookups ask the key service instead, and a retry can deliver copies twice"
        what = f"it denies {', '.join(rights.denied)}"
        yield Finding(where, acl, reason, Severity.FAULT, what)
    if rights.beyond:
        reason = "answers are signed, so no mail is at stake, but all else that is in this Redis is"
        what = f"it allows what is not needed: {', '.join(rights.beyond)}"
        yield Finding(where, acl, reason, Severity.NOTE, what)


def ask(url: str) -> Rights:
    """Find out, or say why not."""
    try:
        client = connect(url, _SECONDS)
        denied = [command for command in _NEEDED if not _may(client, command)]
        beyond = [command for command in _NOT_NEEDED if _may(client, command)]
    except (redis.RedisError, OSError, ValueError) as error:
        return Rights(failure=_in_words(error))
    with suppress(redis.RedisError, OSError):
        client.close()
    return Rights(denied=_names(denied), beyond=_names(beyond))


def _may(client: redis.Redis, command: Sequence[str]) -> bool:
    try:
        client.execute_command(*command)  # type: ignore[no-untyped-call]  # redis-py
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
