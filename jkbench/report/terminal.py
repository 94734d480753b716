"""The main table on the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jkbench.report.chosen import Chosen
from jkbench.report.page import Entry, Row, View, compose

if TYPE_CHECKING:
    from rich.console import RenderableType


def terminal_table(chosen: Chosen) -> RenderableType:
    """The main table of a page for a terminal: accuracy, tie groups in bold, costs; then what does not add up."""
    from rich.console import Group
    from rich.text import Text

    page = compose(chosen)
    parts: list[RenderableType] = [_table(view, page.task.title) for view in page.tables]
    parts += [Text(_bare(note), style="dim") for note in page.notes]
    parts += [Text(_bare(line), style="yellow") for line in [*page.lost, *page.counts]]
    parts += [Text("Does not add up: " + _bare(problem), style="bold red") for problem in page.problems]
    return Group(*parts)


def _table(view: View, title: str) -> RenderableType:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(f"{title}: {view.title}"), box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title_justify="left")
    table.add_column("method", no_wrap=True)
    for head in [*view.heads, *map(_bare, view.cost_heads)]:
        table.add_column(Text(head), justify="right")

    def add(row: Row, style: str = "") -> None:
        cells = [*row.cells, *map(Entry, row.costs)]
        table.add_row(
            Text(row.label), *(Text(cell.text, style="bold" if cell.bold else "") for cell in cells), style=style
        )

    for row in view.ranked:
        add(row)
    if view.apart and view.ranked:
        table.add_section()
    for row in view.apart:
        add(row, "italic")
    return table


def _bare(words: str) -> str:
    return words.replace("`", "")
