"""CPU time of what runs in this process: actions that take turns, in batches."""

import time
from collections.abc import Callable, Sequence
from statistics import median

_SECONDS = 0.05
"""Of a batch: much longer than the clock's grain, much shorter than other work of the machine."""

Action = Callable[[], object]


def cpu_ms(actions: Sequence[Action], rounds: int) -> list[float]:
    """Return the median CPU ms of each of `actions`, system time included."""
    began = time.process_time()
    for action in actions:
        action()
    count = max(1, int(len(actions) * _SECONDS / (time.process_time() - began)))
    samples = [[_sample(action, count) for action in actions] for _ in range(rounds)]
    return [median(of_one) for of_one in zip(*samples, strict=True)]


def _sample(action: Action, count: int) -> float:
    began = time.process_time()
    for _ in range(count):
        action()
    return (time.process_time() - began) / count * 1000
