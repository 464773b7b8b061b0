"""Work that several want at once is done once."""

import asyncio
from collections.abc import Awaitable, Callable


class SingleFlight:
    """Belongs to one event loop."""

    def __init__(self) -> None:
        """Nothing is under way."""
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def do(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Return when `work` is done, or what somebody else has begun under the same name.

        Whoever goes away before does not end it for the others.
        """
        task = self._tasks.get(name)
        if task is None:
            task = asyncio.ensure_future(self._run(name, work))
            self._tasks[name] = task
        await asyncio.shield(task)

    async def _run(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        finally:
            del self._tasks[name]
