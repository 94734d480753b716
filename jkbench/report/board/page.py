"""The board: all tasks' pages in one HTML file, with tables to sort and filter, and the seeds behind each cell."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jkbench import __version__, hashing
from jkbench.plugins import review
from jkbench.plugins.discovery import Index
from jkbench.plugins.parameters import written
from jkbench.records.schema import Record
from jkbench.report.board import charts
from jkbench.report.document import Block, Document, Table, TableRow
from jkbench.report.grid import Cell, Column, ColumnBlock
from jkbench.report.page import Page
from jkbench.report.render import html
from jkbench.report.render.html import Attributes, tag
from jkbench.report.tables import heads
from jkbench.tasks.shots import Shots, per_class, size

NAME = "index.html"
HERE = Path(__file__).parent
POINTS = 8
"""About how many points of a curve are in the page."""


@dataclass(frozen=True)
class Part:
    """A task's part of the board: its markup, what its cells open, what can be filtered.

    ``further``: the markup of the other tables; the page unpacks it when they are opened, since written out it would be
    a third of the page.
    """

    name: str
    title: str
    kind: str
    markup: str
    further: str
    cells: dict[str, Any]
    trials: dict[str, Any]
    environments: dict[str, Any]
    shots: tuple[Shots, ...]
    signals: frozenset[str]


def part(page: Page, document: Document, index: Index) -> Part:
    """The part of one page; ``document`` is the same page with all its tables."""
    grid, task = page.grid, page.task
    environments: dict[str, Any] = {}
    cells: dict[str, Any] = {}
    trials = {record.id: _trial(record, environments) for record in page.records}
    one_of_each = {record.label: record for record in page.records}
    signals = {label: _signals(index, record) for label, record in one_of_each.items()}
    tables = []
    for table, block in zip(page.tables, grid.main, strict=True):
        tables.append(_main(page, table, block, signals))
        for label in grid.labels:
            for column in block.columns:
                if records := grid.records(label, column.shots):
                    cells[f"{page.name}|{label}|{_key(column)}"] = _opened(page, label, column, records)
    figures = [charts.against_images(page, block) for block in grid.main]
    if page.prices.regime is not None and grid.columns:
        column = next((c for c in grid.columns if c.shots == page.prices.regime), grid.columns[0])
        figures.append(charts.against_cost(page, column))
    figures.append(charts.forest(page))
    further = "\n".join(html.blocks(list(_further(page, document)), 3))
    markup = tag("h2", html.words(task.title))
    markup += tag("p", html.words(" ".join(task.description.split()))) if task.description else ""
    markup += tag("p", "", class_="count", role="status")
    markup += "".join(tables) + "".join(tag("p", html.words(note), class_="note") for note in _problems(page))
    markup += tag("div", "".join(filter(None, figures)), class_="figures") + _legend(page)
    unread = f"This part needs JavaScript. Without it, see `{page.name}.md` in the folder of this page."
    markup += tag("details", tag("summary", "All tables, protocol and checks") + tag("p", html.words(unread)))
    named = frozenset(name for names in signals.values() for name in names)
    return Part(page.name, task.title, task.kind, markup, further, cells, trials, environments, grid.shots, named)


def _further(page: Page, document: Document) -> Iterator[Block]:
    """What the page has beside its description and main tables; of these only the notes. Its last block links files."""
    above = page.tables
    for block in document.blocks[1:-1]:
        if isinstance(block, Table) and block in above:
            yield from block.notes
        else:
            yield block


def render(parts: Iterable[Part], poll: bool = False) -> str:
    """The whole page. ``poll``: it asks its server for newer records, and loads itself again."""
    every = sorted(parts, key=lambda each: each.name)
    style, script = (HERE / "board.css").read_text(encoding="utf-8"), (HERE / "board.js").read_text(encoding="utf-8")
    sections = "\n".join(
        tag("section", each.markup, id=each.name, class_="task", data_task=each.name, data_family=each.kind)
        for each in every
    )
    text = json.dumps(_behind(every), separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    packed = base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{_digest(script)}'"
    policy += "; connect-src 'self'" if poll else ""
    empty = "" if every else tag("p", "No records yet.")
    head = (
        '<meta charset="utf-8">'
        + tag("title", "jkbench leaderboard")
        + '<meta name="viewport" content="width=device-width, initial-scale=1">'
        + f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        + f'<link rel="icon" href="data:,">{tag("style", style)}'
    )
    body = (
        tag("header", tag("h1", "jkbench leaderboard") + _reading())
        + _filters(every)
        + charts.marks()
        + tag("main", empty + sections, id="main")
        + tag("dialog", "", aria_label="Details of a cell")
        + tag("footer", tag("p", f"jkbench {html.words(__version__)}; every number comes from a record."))
        + f'<script type="text/plain" id="data">{packed}</script><script>{script}</script>'
    )
    polled = ' data-poll="1"' if poll else ""
    return f'<!DOCTYPE html>\n<html lang="en" class="plain"><head>{head}</head>\n<body{polled}>{body}</body></html>\n'


def _behind(parts: Sequence[Part]) -> dict[str, Any]:
    """What cells and tasks open. A trial stands in a list once, and cells name its place: ids would be half of it."""
    trials = {trial: told for each in parts for trial, told in each.trials.items()}
    place = {trial: at for at, trial in enumerate(trials)}
    return {
        "cells": {
            key: cell | {"trials": [place[trial] for trial in cell["trials"]]}
            for each in parts
            for key, cell in each.cells.items()
        },
        "trials": [{"id": trial, **told} for trial, told in trials.items()],
        "environments": {key: told for each in parts for key, told in each.environments.items()},
        "further": {each.name: each.further for each in parts},
    }


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _reading() -> str:
    return tag(
        "p",
        "A cell is the mean accuracy in % over seeds ± the half-width of its 95 % interval, drawn below it on its "
        "column's scale. Marked cells cannot be told from the best of their column. Select a cell to see its seeds.",
    )


def _filters(parts: Sequence[Part]) -> str:
    shots = [str(each) for each in sorted({each for one in parts for each in one.shots}, key=size)]
    choices = {
        "task": ("Task", [(one.name, one.title) for one in parts]),
        "family": ("Family", [(kind, kind) for kind in sorted({one.kind for one in parts})]),
        "shots": ("Images per class", [(each, each) for each in shots]),
        "signal": ("Reads", [(name, name) for name in sorted({name for one in parts for name in one.signals})]),
    }
    fields = [_field("Method", '<input id="method" type="search" autocomplete="off">', "method")]
    for name, (label, options) in choices.items():
        inner = tag("option", "all", value="") + "".join(
            tag("option", html.words(text.replace("`", "'")), value=value) for value, text in options
        )
        fields.append(_field(label, tag("select", inner, id=name), name))
    fields.append(_field("Cost at most, × baseline", '<input id="cost" type="number" min="0" step="any">', "cost"))
    fields.append(_field("Seeds at least", '<input id="seeds" type="number" min="0" step="1">', "seeds"))
    reset = tag("button", "Show all", type="reset")
    return tag("form", "".join(fields) + reset, class_="filters", role="search", aria_label="Filter")


def _field(label: str, control: str, name: str) -> str:
    return tag("div", tag("label", label, for_=name) + control)


def _signals(index: Index, record: Record) -> list[str]:
    """What a row's method reads of the networks, by its source; by its loss terms where that is not here."""
    plugin = index.methods().get(record.method)
    return sorted(review.signals(plugin) if plugin is not None and plugin.described else record.curves)


def _key(column: Column) -> str:
    """A cell's name in its row."""
    return f"{column.shots}|{column.metric}"


def _main(page: Page, table: Table, block: ColumnBlock, signals: dict[str, list[str]]) -> str:
    """The main table: a cell is a button that opens its seeds, above its interval."""
    grid, columns = page.grid, block.columns
    shots = page.prices.regime if block.shots is None else block.shots
    spans = {column: _span([grid.cell(label, column) for label in grid.labels]) for column in columns}

    def label_of(row: TableRow) -> str:
        return str(row[0].text).strip("`")

    def of_row(row: TableRow) -> Attributes:
        label = label_of(row)
        counts = [len(grid.cell(label, column).values) for column in columns]
        price, other = (page.prices.of.get((each, shots)) if shots else None for each in (label, page.task.baseline))
        ratio = price.over(other) if price is not None else None
        return {
            "data_row": label, "data_signals": " ".join(signals.get(label, [])), "data_cost": ratio,
            "data_seeds": max(counts, default=0),
        }  # fmt: skip

    def of_column(at: int) -> Attributes:
        return {"data_shots": str(columns[at - 1].shots)} if 0 < at <= len(columns) else {}

    def inside(row: TableRow, at: int) -> str:
        told = html.words(row[at].words)
        if not at:
            return tag("span", "", class_="swatch", style=f"--c:{charts.colour(label_of(row))}") + told
        if at > len(columns) or not grid.records(label_of(row), columns[at - 1].shots):
            return told
        column = columns[at - 1]
        button = tag("button", told, data_cell=_key(column))
        return button + _bar(grid.cell(label_of(row), column), *spans[column])

    def of_cell(row: TableRow, at: int) -> Attributes:
        value = row[at].value  # what sorting compares; elsewhere it reads the text
        return {"data_value": None if value is None else f"{value:.5g}", **of_column(at)}

    assert len(heads(block)) == len(columns)
    return html.tabular(table, of_row, of_cell, of_column, inside)


def _span(cells: Sequence[Cell]) -> tuple[float, float]:
    """From the lowest to the highest mean of a column."""
    found = [cell.interval.mean for cell in cells if cell.interval is not None]
    return (min(found, default=0.0), max(found, default=1.0))


def _bar(cell: Cell, low: float, high: float) -> str:
    """An interval on the scale of its column, in percents of the cell's width."""
    found = cell.interval
    if found is None:
        return ""
    room = 0.15 * (high - low) or 0.01
    left, wide = low - room, high - low + 2 * room
    ends = [min(max((found.mean + sign * (found.half_width or 0.0) - left) / wide, 0.0), 1.0) for sign in (-1, 0, 1)]
    percent = [round(100 * end, 1) for end in ends]
    place = f"--a:{percent[0]}%;--m:{percent[1]}%;--b:{percent[2]}%"
    return tag("i", "", class_="bar", style=place)


def _problems(page: Page) -> list[str]:
    return [f"Inconsistent: {problem}" for problem in page.problems] + page.counts


def _legend(page: Page) -> str:
    items = []
    for label in page.grid.labels:
        sign = tag("svg", charts.mark(label, 8, 8), viewBox="0 0 16 16", aria_hidden="true")
        items.append(
            tag("li", sign + tag("span", html.words(f"`{label}`")), data_row=label, style=f"--c:{charts.colour(label)}")
        )
    return tag("ul", "".join(items), class_="legend", aria_label="Markers of the rows")


def _opened(page: Page, label: str, column: Column, records: Sequence[Record]) -> dict[str, Any]:
    """What a cell shows when it is opened."""
    first = records[0]
    seeds = ",".join(str(record.seed) for record in records)
    given = f"{first.method}[{','.join(written(first.parameters))}]" if first.parameters else first.method
    words = [
        "jkbench",
        "run",
        "--methods",
        given,
        "--task",
        page.task.name,
        "--shots",
        str(first.shots),
        "--seeds",
        seeds,
    ]
    words += [] if first.split == "test" else ["--split", first.split]
    noise = f", noise std {column.noise:g}" if column.noise else ""
    return {
        "task": page.task.title,
        "row": label,
        "where": per_class(column.shots) + noise,
        "parameters": dict(item.split(" = ", 1) for item in written(first.parameters, " = ")),
        "code": first.code,
        "command": shlex.join(words),
        "trials": [record.id for record in records],
        "values": [_percent(record.metrics.get(column.metric)) for record in records],
    }


def _percent(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 3)


def _trial(record: Record, environments: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"seed": record.seed, "status": record.status}
    if record.status != "ok":
        found["message"] = record.reason
    if record.cost is not None:
        found |= {"steps": record.cost.steps, "seconds": float(f"{record.cost.seconds:.3g}")}
    if record.environment is not None:
        told = record.environment.model_dump(mode="json", exclude_none=True)
        key = hashing.of_value(told)[:8]
        environments[key] = told
        found["environment"] = key
    if record.curves:
        every = range(0, len(record.curve_steps), max(1, len(record.curve_steps) // POINTS))
        found["at"] = [record.curve_steps[at] for at in every]
        curves = {name: [curve[at] for at in every if at < len(curve)] for name, curve in record.curves.items()}
        found["curves"] = {name: [float(f"{value:.2g}") for value in curve] for name, curve in curves.items()}
    return found
