"""The main table on the screen."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from jkbench.records.select import Chosen
from jkbench.report.page import compose
from jkbench.report.tables import Entry, Row, View

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.table import Table


def terminal_table(chosen: Chosen) -> RenderableType:
    """The main table of a page for a terminal: accuracy, tie groups in bold, costs; then what does not add up."""
    from rich.console import Group
    from rich.text import Text

    page = compose(chosen)
    parts: list[RenderableType] = [_Tables(view, page.task.title) for view in page.tables]
    parts += [Text(_bare(note), style="dim") for note in page.notes]
    parts += [Text(_bare(line), style="yellow") for line in [*page.lost, *page.counts]]
    parts += [Text("Does not add up: " + _bare(problem), style="bold red") for problem in page.problems]
    return Group(*parts)


class _Tables:
    """Accuracy and costs side by side where the screen is wide enough, else below each other."""

    def __init__(self, view: View, title: str) -> None:
        self.view = view
        self.title = title

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterable[RenderableType]:
        heads, costs = self.view.heads, self.view.cost_heads
        title = f"{self.title}: {self.view.title}"
        both = self._table(title, [*heads, *costs], lambda row: [*row.cells, *map(Entry, row.costs)])
        if not costs or console.measure(both, options=options.update(width=10_000)).maximum <= options.max_width:
            yield both
            return
        yield self._table(title, heads, lambda row: row.cells)
        yield self._table(f"{self.title}: costs", costs, lambda row: [Entry(text) for text in row.costs])

    def _table(self, title: str, heads: list[str], cells: Callable[[Row], list[Entry]]) -> Table:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(title=Text(title), box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title_justify="left")
        table.add_column("method", no_wrap=True)
        for head in heads:
            table.add_column(Text(_bare(head)), justify="right")

        def add(row: Row, style: str = "") -> None:
            words = [Text(cell.words, style="bold" if cell.bold else "") for cell in cells(row)]
            table.add_row(Text(row.label), *words, style=style)

        for row in self.view.ranked:
            add(row)
        if self.view.apart and self.view.ranked:
            table.add_section()
        for row in self.view.apart:
            add(row, "italic")
        return table


def _bare(words: str) -> str:
    return words.replace("`", "")
