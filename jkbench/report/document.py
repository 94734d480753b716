"""A page as data: sections of prose, lists, tables and drawings. `jkbench.report.render` turns it into files.

What a plugin or a record says stays text. In a string only backticks mean something: a name as code. Emphasis and links
are `Span`; `rich` reads them from a template of the suite's own, never from the values that are put into it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


SpanStyle = Literal["strong", "emphasis", "link"]


@dataclass(frozen=True)
class Span:
    """A piece of text that is strong, emphasised, or a link to ``target``."""

    text: str
    style: SpanStyle
    target: str = ""


Words = str | tuple[str | Span, ...]
"""Text, or pieces of it; as a block it is a paragraph."""

_MARKS = re.compile(r"\*\*(?P<strong>.+?)\*\*|\*(?P<emphasis>.+?)\*|\[(?P<link>[^\]]+)\]\((?P<target>[^)]+)\)")


def rich(template: str, **values: object) -> Words:
    """A template with ``**strong**``, ``*emphasised*`` and ``[linked](target)`` pieces; ``{values}`` stay text."""
    pieces: list[str | Span] = []
    end = 0
    for found in _MARKS.finditer(template):
        pieces.append(template[end : found.start()].format(**values))
        style: SpanStyle = "strong" if found["strong"] else "emphasis" if found["emphasis"] else "link"
        pieces.append(Span(found[style].format(**values), style, (found["target"] or "").format(**values)))
        end = found.end()
    return (*pieces, template[end:].format(**values))


def rendered(text: Words, plain: Callable[[str], str], span: Callable[[Span], str]) -> str:
    """Words as one line of a format: ``plain`` writes its plain pieces, ``span`` the marked ones."""
    pieces = [text] if isinstance(text, str) else text
    return "".join(span(piece) if isinstance(piece, Span) else plain(piece) for piece in pieces).strip()


def joined(parts: Iterable[Words], by: str = " ") -> Words:
    """Several pieces as one paragraph; empty ones are left out."""
    pieces: list[str | Span] = []
    for part in parts:
        if part:
            pieces += [by] if pieces else []
            pieces += [part] if isinstance(part, str) else part
    return tuple(pieces)


@dataclass(frozen=True)
class Entry:
    """One cell of a table: its words, a remark beside them, and the raw number that the words round."""

    text: Words
    aside: str = ""
    bold: bool = False
    value: float | None = None

    @property
    def words(self) -> Words:
        """Text and remark on one line."""
        return joined([self.text, f"({self.aside})"]) if self.aside else self.text


@dataclass(frozen=True)
class Head:
    """A column: its heading, where its cells stand ("text" wraps), and a short heading under what several share."""

    text: Words
    align: Literal["left", "right", "text"] = "right"
    short: str = ""
    over: str = ""


TableRow = tuple[Entry, ...]


@dataclass(frozen=True)
class RowGroup:
    """Rows that belong together, under a title where they have one."""

    rows: tuple[TableRow, ...]
    title: str = ""


@dataclass(frozen=True)
class Table:
    """A table with its notes; ``name`` names its LaTeX file, and a table without one has none."""

    title: str
    heads: tuple[Head, ...]
    groups: tuple[RowGroup, ...]
    notes: tuple[Words, ...] = ()
    name: str = ""

    @property
    def rows(self) -> list[TableRow]:
        """The rows of all groups."""
        return [row for group in self.groups for row in group.rows]


def table(
    heads: Sequence[str | Head],
    rows: Iterable[Sequence[Words | Entry]],
    title: str = "",
    notes: Sequence[Words] = (),
    left: Sequence[int] = (0,),
    name: str = "",
) -> Table:
    """A table of one group, from words; the columns in ``left`` are aligned to the left, the others to the right."""
    columns = (
        head if isinstance(head, Head) else Head(head, "left" if at in left else "right")
        for at, head in enumerate(heads)
    )
    cells = (tuple(cell if isinstance(cell, Entry) else Entry(cell) for cell in row) for row in rows)
    return Table(title, tuple(columns), (RowGroup(tuple(cells)),), tuple(notes), name)


@dataclass(frozen=True)
class Bullets:
    """A list."""

    items: tuple[Words, ...]


@dataclass(frozen=True)
class Drawing:
    """A figure: its file's name without the ending, what it shows in words, and how it is drawn."""

    name: str
    alt: str
    make: Callable[[], Figure]


@dataclass(frozen=True)
class Section:
    """Blocks under a heading."""

    title: str
    blocks: tuple[Block, ...]


Block = Words | Bullets | Table | Drawing | Section


@dataclass(frozen=True)
class Document:
    """A page that ``command`` writes. ``protocol`` in sentences; ``provenance``: those that every LaTeX table repeats;
    ``data``: all numbers in full."""

    name: str
    title: str
    command: str
    blocks: tuple[Block, ...]
    protocol: tuple[Words, ...] = ()
    provenance: tuple[Words, ...] = ()
    data: pd.DataFrame | None = None

    def every(self) -> Iterator[Block]:
        """All blocks in order, those inside sections too."""
        waiting = list(self.blocks)[::-1]
        while waiting:
            block = waiting.pop()
            yield block
            if isinstance(block, Section):
                waiting += block.blocks[::-1]
