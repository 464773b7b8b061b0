"""The life of signing keys: new, active, retired, gone. No step can stop mail or its proof.

A key signs only after its record was seen, and its record and file stay until the last mail
that it signed has been delivered.
"""

import itertools
from collections.abc import Collection
from datetime import UTC, datetime

import msgspec

from letterlock.dkim.key_files import Key, State
from letterlock.dkim.signer import KeyType

RETIRED_SECONDS = 14 * 86_400
"""How long a record must stay after its last use.

Mail waits five days here and five at the next relay (RFC 5321 §4.5.4.1); the rest is for
people who look at it later.
"""

_PREFIXES = {KeyType.RSA: "rsa", KeyType.ED25519: "ed"}


def new_keys(keys: Collection[Key], taken: Collection[str], now: int) -> tuple[Key, ...]:
    """Return a further key of each type, with a selector that is not in use or `taken`."""
    used = {key.selector for key in keys} | set(taken)
    return tuple(
        Key(_selector(prefix, now, used), key_type, State.NEW, now)
        for key_type, prefix in _PREFIXES.items()
    )


def in_state(keys: Collection[Key], state: State) -> tuple[Key, ...]:
    """Return those in `state`."""
    return tuple(key for key in keys if key.state is state)


def activated(keys: Collection[Key], now: int) -> tuple[Key, ...]:
    """Return the keys once the new ones, whose records were seen, have taken over."""
    return tuple(_moved_on(key, now) for key in keys)


def is_record_needed(key: Key, now: int) -> bool:
    """Whether mail that is on its way may need the key's record."""
    match key.state:
        case State.NEW:
            return False
        case State.ACTIVE:
            return True
        case State.RETIRED:
            return now < removable_from(key)


def removable_from(key: Key) -> int:
    """Return when a retired key and its record may go."""
    return key.since + RETIRED_SECONDS


def _moved_on(key: Key, now: int) -> Key:
    match key.state:
        case State.NEW:
            return msgspec.structs.replace(key, state=State.ACTIVE, since=now)
        case State.ACTIVE:
            return msgspec.structs.replace(key, state=State.RETIRED, since=now)
        case State.RETIRED:
            return key


def _selector(prefix: str, now: int, used: Collection[str]) -> str:
    """Return a selector that tells the day, and which of that day it is."""
    day = f"{prefix}{datetime.fromtimestamp(now, UTC):%Y%m%d}"
    names = (f"{day}-{number}" for number in itertools.count(1))
    return next(name for name in itertools.chain([day], names) if name not in used)
