"""A document's blocks as HTML. What a plugin or a record says is escaped; links lead to pages and to https alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from html import escape

from jkbench.report.document import Block, Bullets, Drawing, Section, Span, Table, TableRow, Words, rendered

_EMPTY = frozenset({"line", "circle", "polygon", "polyline", "rect", "path", "use"})
"""Elements of SVG that close themselves."""
Attributes = dict[str, str | float | None]
"""Of an element; what is None is left out."""


def tag(name: str, inside: str = "", **attributes: str | float | None) -> str:
    """An element around markup; ``data_x`` is the attribute data-x, ``class_`` is class, and None leaves one out."""
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value), quote=True)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{told}/>" if name in _EMPTY and not inside else f"<{name}{told}>{inside}</{name}>"


def words(text: Words) -> str:
    """Words as markup on one line; `` `name` `` is code."""
    return rendered(text, _escaped, _span)


def _span(span: Span) -> str:
    inner = _escaped(span.text)
    if span.style == "link":
        safe = re.fullmatch(r"https://\S+|#?[\w.-][\w./#-]*", span.target)
        return tag("a", inner, href=span.target) if safe else inner
    return tag("strong" if span.style == "strong" else "em", inner)


def _escaped(text: str) -> str:
    parts = re.split(r"`([^`]*)`", re.sub(r"\s+", " ", text))
    return "".join(tag("code", escape(part)) if at % 2 else escape(part) for at, part in enumerate(parts))


def blocks(found: Sequence[Block], level: int) -> Iterator[str]:
    """The markup of blocks; headings begin at ``level``. A drawing has no place here: the board draws its own."""
    for block in found:
        if isinstance(block, Section):
            yield tag(f"h{level}", words(block.title))
            yield from blocks(block.blocks, min(level + 1, 6))
        elif isinstance(block, Table):
            yield tabular(block)
            yield from (tag("p", words(note), class_="note") for note in block.notes)
        elif isinstance(block, Bullets):
            yield tag("ul", "".join(tag("li", words(item)) for item in block.items))
        elif block and not isinstance(block, Drawing):
            yield tag("p", words(block))


def _nothing(row: TableRow, at: int) -> Attributes:
    return {}


def tabular(
    table: Table,
    of_row: Callable[[TableRow], Attributes] = lambda row: {},
    of_cell: Callable[[TableRow, int], Attributes] = _nothing,
    of_head: Callable[[int], Attributes] = lambda at: {},
    inside: Callable[[TableRow, int], str] = lambda row, at: words(row[at].words),
) -> str:
    """A table with its title, scrolled sideways where it is too wide; a body a group, a row's name is its heading."""
    heads = "".join(
        tag("th", words(head.text), scope="col", **{"class_": _aligned(head.align), **of_head(at)})
        for at, head in enumerate(table.heads)
    )
    bodies = []
    for group in table.groups:
        lines = [tag("th", words(group.title), colspan=len(table.heads), scope="colgroup")] if group.title else []
        for row in group.rows:
            cells = [
                tag(
                    "td" if at else "th", inside(row, at), scope=None if at else "row", **_cell(table, row, at, of_cell)
                )
                for at in range(len(row))
            ]
            lines.append(tag("tr", "".join(cells), **of_row(row)))
        if group.title:
            lines[0] = tag("tr", lines[0], class_="group")
        bodies.append(tag("tbody", "\n".join(lines)))
    caption = tag("caption", words(table.title)) if table.title else ""
    inner = f"{caption}{tag('thead', tag('tr', heads))}\n{''.join(bodies)}"
    return scrolled(tag("table", inner), table.title or "table")


def scrolled(inside: str, name: str) -> str:
    """What may be wider than the screen: it scrolls by itself, with the keyboard too."""
    return tag("div", inside, class_="wide", tabindex=0, role="region", aria_label=name.replace("`", ""))


def _cell(table: Table, row: TableRow, at: int, of_cell: Callable[[TableRow, int], Attributes]) -> Attributes:
    kind = " ".join(filter(None, (_aligned(table.heads[at].align), "tied" if row[at].bold else "")))
    return {"class_": kind or None, **of_cell(row, at)}


def _aligned(align: str) -> str | None:
    """The class of a cell: most are at the right and need none."""
    return None if align == "right" else align
