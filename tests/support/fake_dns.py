"""The DNS as a table in memory."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from letterlock.dns import Deadline, DnsUnavailable


class FakeDns:
    """See `letterlock.dns.Questions`. Tables by name, in lower case, without a final dot."""

    def __init__(
        self,
        txt: Mapping[str, Sequence[str | bytes]] | None = None,
        *,
        addresses: Mapping[str, Sequence[str]] | None = None,
        mx: Mapping[str, Sequence[tuple[int, str]]] | None = None,
        ptr: Mapping[str, Sequence[str]] | None = None,
        down: Collection[str] = (),
    ) -> None:
        """About names in `down` nothing can be found out; "*": about none."""
        self.tables = txt or {}, addresses or {}, mx or {}, ptr or {}
        self.down = {*down}
        self.asked: list[str] = []

    def txt(self, name: str, deadline: Deadline) -> tuple[bytes, ...]:
        """See `Questions`."""
        found = self._found(name, self.tables[0])
        return tuple(r.encode() if isinstance(r, str) else r for r in found)

    def addresses(self, name: str, version: Literal[4, 6], deadline: Deadline) -> tuple[str, ...]:
        """See `Questions`."""
        found = self._found(name, self.tables[1])
        return tuple(one for one in found if (":" in one) is (version == 6))

    def mx(self, name: str, deadline: Deadline) -> tuple[tuple[int, str], ...]:
        """See `Questions`."""
        return tuple(self._found(name, self.tables[2]))

    def ptr(self, name: str, deadline: Deadline) -> tuple[str, ...]:
        """See `Questions`."""
        return tuple(self._found(name, self.tables[3]))

    def _found(self, name: str, table: Mapping[str, Sequence[Any]]) -> Sequence[Any]:
        name = name.removesuffix(".").lower()
        self.asked.append(name)
        if self.down & {name, "*"}:
            raise DnsUnavailable("down")
        return table.get(name, ())
