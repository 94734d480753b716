"""Tables and prose on the screen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from jkbench.report.document import Block, Bullets, Entry, Span, Table, Words
from jkbench.report.render.panels import fit

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.text import Text


def render(blocks: Sequence[Block]) -> RenderableType:
    """Tables with their notes, paragraphs, and lists as warnings. Drawings and sections have no place on a screen."""
    from rich.console import Group

    parts: list[RenderableType] = []
    for block in blocks:
        if isinstance(block, Table):
            parts += [_Panels(block), *(text(note, "dim") for note in block.notes)]
        elif isinstance(block, Bullets):
            parts += [text(item, "yellow") for item in block.items]
        elif isinstance(block, str | tuple):
            parts.append(text(block))
    return Group(*parts)


def show(blocks: Sequence[Block]) -> None:
    """Print blocks, as wide as the screen."""
    import sys

    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 140, highlight=False).print(render(blocks))


def text(words: Words, style: str = "") -> Text:
    """Words in a style; strong pieces are bold."""
    from rich.text import Text

    found = Text(style=style)
    for piece in [words] if isinstance(words, str) else words:
        plain = piece.text if isinstance(piece, Span) else piece
        found.append(plain.replace("`", ""), "bold" if isinstance(piece, Span) and piece.style == "strong" else "")
    return found


class _Panels:
    """A table whose columns stand in panels below each other where the screen is too narrow."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterable[RenderableType]:
        rows = self.table.rows
        widths = [
            2 + max(text(words).cell_len for words in (head.text, *(row[at].words for row in rows)))
            for at, head in enumerate(self.table.heads)
        ]
        for columns in fit(widths, options.max_width):
            yield self._panel(columns)

    def _panel(self, columns: Sequence[int]) -> RenderableType:
        from rich import box
        from rich.table import Table as Panel

        panel = Panel(title=text(self.table.title), box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title_justify="left")
        for at in columns:
            head = self.table.heads[at]
            panel.add_column(text(head.text), justify="right" if head.align == "right" else "left", no_wrap=not at)
        for group in self.table.groups:
            for row in group.rows:
                panel.add_row(*(_cell(row[at]) for at in columns), style="italic" if group.title else "")
            panel.add_section()
        return panel


def _cell(entry: Entry) -> Text:
    return text(entry.words, "bold" if entry.bold else "")
