"""What a failure of Redis means, in words for the operator, once for each outage."""

import logging

from redis import exceptions

log = logging.getLogger(__name__)

_MEANINGS: tuple[tuple[type[Exception], str], ...] = (
    (exceptions.NoPermissionError, "its ACL denies a command or a name that is needed"),
    (exceptions.AuthenticationError, "it refuses the user or the password"),
    (exceptions.OutOfMemoryError, "its memory is full"),
    (exceptions.ReadOnlyError, "it is a replica"),
    (exceptions.TimeoutError, "it takes too long"),
    (exceptions.ConnectionError, "it cannot be reached"),
    (OSError, "it cannot be reached"),
)


class RedisOutage:
    """Writes one line when Redis begins to fail, however often it is asked then."""

    def __init__(self) -> None:
        self._is_known = False

    def failed(self, error: Exception) -> None:
        """It did not do what it was asked."""
        if self._is_known:
            return
        self._is_known = True
        meaning = (words for kind, words in _MEANINGS if isinstance(error, kind))
        log.warning("redis_failed", extra={"detail": next(meaning, type(error).__name__)})

    def over(self) -> None:
        """It did."""
        self._is_known = False
