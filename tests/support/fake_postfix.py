"""postconf(1) and postmap(1) over dictionaries."""

from collections.abc import Mapping, Sequence

SETTINGS = {
    "alias_maps": "ldap:/aliases",
    "local_transport": "local:$myhostname",
    "mydestination": "mx.example.test, ldap:/destinations",
    "myorigin": "example.test",
    "propagate_unmatched_extensions": "canonical, virtual",
    "recipient_delimiter": "+",
    "smtpd_sender_login_maps": "ldap:/logins",
    "virtual_alias_maps": "ldap:/virtual regexp:/pattern, proxy:pgsql:/later",
}


class FakePostfix:
    """What `PostfixTables` runs: `tables` by type:name; remembers what they were asked."""

    def __init__(self, tables: Mapping[str, Mapping[str, str]], **settings: str) -> None:
        """`settings` go before SETTINGS."""
        self.tables = tables
        self.settings = SETTINGS | settings
        self.asked: list[tuple[str, list[str]]] = []

    def __call__(self, command: Sequence[str], question: str) -> str:
        """Print as the program would."""
        if command[0] == "postconf":
            return "".join(f"{name} = {value}\n" for name, value in self.settings.items())
        table, keys = command[-1], question.split()
        self.asked.append((table, keys))
        found = self.tables.get(table, {})
        return "".join(f"{key}\t{found[key]}\n" for key in keys if key in found)
