"""A function that is killed at every single moment at which it touches the file system."""

import os
from collections.abc import Callable, Iterator

CALLS = ("open", "link", "unlink", "rename", "replace", "fsync", "utime", "fchmod")
"""Of `os`, which pathlib calls, too."""

_KILLED = 99


def moments(act: Callable[[], object], calls_max: int = 5_000) -> Iterator[int]:
    """Run `act` in a child that dies before its first call, its second, ...; yield each number.

    What the caller finds then is what SIGKILL leaves: nothing is flushed, closed or undone.
    Ends after the child that came to its end.
    """
    for number in range(calls_max):
        child = os.fork()
        if child == 0:
            _die_at(number)
            try:
                act()
            except BaseException:  # noqa: BLE001 (it must not go on as a second test run)
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        assert code in (0, _KILLED), f"ended with {code} at call {number}"
        yield number
        if code == 0:
            return
    raise AssertionError("it goes on and on")


def _die_at(number: int) -> None:
    counted, fsync = 0, os.fsync

    def wrapped(call: Callable[..., object]) -> Callable[..., object]:
        def counting(*arguments: object, **options: object) -> object:
            nonlocal counted
            if counted == number:
                os._exit(_KILLED)
            counted += 1
            # What a dead process has written is there without it; only a power cut differs.
            return None if call is fsync else call(*arguments, **options)

        return counting

    for name in CALLS:
        setattr(os, name, wrapped(getattr(os, name)))
