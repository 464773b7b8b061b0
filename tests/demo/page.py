"""How the demo puts things on a terminal: headings, paragraphs, tables, marks."""

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text


class Page:
    """One terminal, or file, that is written from top to bottom."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def heading(self, text: str) -> None:
        """Begin a section."""
        rule = Rule(Text(text, style="bold cyan"), align="left", style="cyan")
        self.console.print(rule)

    def say(self, text: str) -> None:
        """Write a paragraph."""
        self.console.print(Padding(text, (0, 1, 1, 1)))

    def show(self, what: Table | Text) -> None:
        """Write a table or a line, and a blank line after it."""
        self.console.print(Padding(what, (0, 1, 1, 1)))

    def panel(self, what: RenderableType) -> None:
        """Write something that reaches from edge to edge."""
        self.console.print(what)


def table_of(*columns: str) -> Table:
    """Return an empty table without lines; no column names, no head."""
    table = Table(box=None, show_header=bool(columns), header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column)
    return table


def mark(*, good: bool) -> Text:
    """Return the sign for kept or broken."""
    return Text("✓", style="bold green") if good else Text("✗", style="bold red")
