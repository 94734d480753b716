"""A document as Markdown (GitHub's)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from urllib.parse import quote

from tabulate import tabulate

from jkbench.report.document import Block, Bullets, Document, Drawing, Entry, Section, Span, Table, Words, rendered


def render(document: Document) -> str:
    """The page."""
    lines = [f"<!-- Written by {document.command}. Do not edit: it is overwritten. -->\n# {words(document.title)}"]
    return "\n\n".join([*lines, *_blocks(document.blocks, 2)]) + "\n"


def words(text: Words) -> str:
    """Words as Markdown on one line, safe in a table too: what would mean something outside of code is escaped."""
    return rendered(text, _escaped, _span)


def _span(span: Span) -> str:
    inner = _escaped(span.text)
    if span.style == "link":
        return f"[{inner}]({quote(span.target, safe='/:#?=&%')})"
    return f"**{inner}**" if span.style == "strong" else f"*{inner}*"


def _escaped(text: str) -> str:
    # GFM cannot hold a backslash before a bar inside code: such backslashes go
    parts = re.split(r"(`[^`]*`)", re.sub(r"\s+", " ", text))
    for i, part in enumerate(parts):
        parts[i] = re.sub(r"\\*\|", r"\\|", part) if i % 2 else re.sub(r"([\\*_<>\[\]|`])", r"\\\1", part)
    return "".join(parts)


def _blocks(blocks: Sequence[Block], level: int) -> Iterator[str]:
    for block in blocks:
        if isinstance(block, Section):
            yield f"{'#' * level} {words(block.title)}"
            yield from _blocks(block.blocks, level + 1)
        elif isinstance(block, Table):
            if block.title:
                yield f"{'#' * level} {words(block.title)}"
            yield tabular(block)
            if block.notes:
                yield " ".join(map(_paragraph, block.notes))
        elif isinstance(block, Bullets):
            yield "\n".join(f"- {_paragraph(item)}" for item in block.items)
        elif isinstance(block, Drawing):
            yield f"![{words(block.alt)}]({quote(block.name)}.png)"
        elif block:
            yield _paragraph(block)


def _paragraph(text: Words) -> str:
    """Words that begin no list and no heading."""
    return re.sub(r"^(?=[#+-])", r"\\", words(text))


def tabular(table: Table) -> str:
    """A table without its title and notes."""
    rows = []
    for group in table.groups:
        if group.title and group.rows:
            rows.append([f"*{words(group.title)}*", *[""] * (len(table.heads) - 1)])
        rows += [[_cell(entry) for entry in row] for row in group.rows]
    return tabulate(
        rows,
        headers=[words(head.text) for head in table.heads],
        tablefmt="pipe",
        colalign=["right" if head.align == "right" else "left" for head in table.heads] if rows else None,
        disable_numparse=True,
    )


def _cell(entry: Entry) -> str:
    return f"**{words(entry.words)}**" if entry.bold else words(entry.words)
