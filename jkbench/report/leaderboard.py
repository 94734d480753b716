"""All pages of a leaderboard folder, written from records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from jkbench.records.select import Chosen
from jkbench.report import accuracy_figure, across, transfer_figure
from jkbench.report.caption import provenance
from jkbench.report.document import Bullets, Document, Drawing, Section, Span, Words, rich, table
from jkbench.report.page import Page, compose, sections
from jkbench.report.render import differing, files, write
from jkbench.report.tidy import tidy
from jkbench.report.wording import DASH, listed
from jkbench.tasks.shots import per_class

COMMAND = "`jkbench leaderboard` from the records in this folder"


Seen = Callable[[Page, Document], None]


def write_leaderboard(
    folder: Path, pages: Iterable[Chosen], formats: Sequence[str] = ("png",), seen: Seen | None = None
) -> list[Path]:
    """Write an index and, for each task, its page as Markdown, CSV, LaTeX tables and figures; returns their files.

    The same records give the same bytes, and a file that would not change is left alone. A task without a finished
    trial has no figure. formats: of the figures, of "png", "pdf" and "svg"; ``seen`` is given each page.
    Raises `UserError` where the folder cannot be written.
    """
    return [file for document in documents(pages, seen) for file in write(folder, document, formats)]


def differences(folder: Path, pages: Iterable[Chosen]) -> Iterator[str]:
    """A sentence for each file of a folder that is not what `write_leaderboard` would write there."""
    made = set()
    for document in documents(pages):
        yield from differing(folder, document)
        made |= {name.rpartition(".")[0] for name in files(document, ())}
    for path in sorted([*folder.glob("*.md"), *folder.glob("tex/*.tex")]):
        name = str(path.relative_to(folder))
        if name.rpartition(".")[0] not in made and COMMAND in path.read_text(encoding="utf-8").partition("\n")[0]:
            yield f"{path}: the records give no such file"


def documents(pages: Iterable[Chosen], seen: Seen | None = None) -> Iterator[Document]:
    """The pages, and the index after them.

    One at a time: many records of several tasks need not fit into memory together.
    """
    rows = {}
    for chosen in pages:
        page = compose(chosen)
        del chosen
        made = document(page)
        if seen is not None:
            seen(page, made)
        yield made
        rows[page.name] = _summary(page), across.scored(page)
    lines, every = [rows[name][0] for name in sorted(rows)], [rows[name][1] for name in sorted(rows)]
    yield index(lines, across.section(every))


def document(page: Page) -> Document:
    """A task's page as a document."""
    name = page.name
    alt = f"{page.grid.split.capitalize()} accuracy with 95 % intervals, one line per method"
    main = Drawing(name, alt, partial(accuracy_figure.draw, page))
    second = Drawing(f"{name}-transfer", transfer_figure.says(page), partial(transfer_figure.draw, page))
    left_out = accuracy_figure.left_out(page)
    blocks = sections(
        page,
        (main, left_out) if accuracy_figure.blocks(page.grid) else (),
        (second, left_out) if transfer_figure.panels(page) else (),
    )
    origin = tuple(provenance(page.task, page.grid))
    files = rich("Also as [CSV]({n}.csv) and as [LaTeX tables](tex/) · [all tasks](README.md)", n=name)
    return Document(
        name,
        page.task.title,
        COMMAND,
        (*blocks, files),
        (*page.protocol, *origin),
        origin,
        tidy(page),
    )


def _summary(page: Page) -> tuple[Words, ...]:
    """A task's line in the index; the methods are those that ran."""
    return (
        (Span(page.task.title, "link", f"{page.name}.md"),),
        f"v{page.task.version}",
        str(len(page.records)),
        str(len(page.grid.seeds)),
        str(len({record.label for record in page.records})),
        f"{len(page.problems)} (see Checks)" if page.problems else "none",
        "; ".join(_tied(page)) or DASH,
    )


def index(rows: Sequence[tuple[Words, ...]], over_tasks: Section | None = None) -> Document:
    """The folder's README: a line a task, and how to read its page."""
    heads = ["task", "version", "records", "seeds", "methods", "problems", "best, or not distinguishable from it"]
    reading = [
        "A cell is the **mean over seeds ± half-width of its 95 % t-interval**. It is the last epoch's accuracy, never "
        "the best on test.",
        "**Bold** rows cannot be distinguished from the best of their column (studentized range over paired seeds, "
        "5 %). Many bold rows mean that more seeds are needed: each page states its minimum detectable differences.",
        "All rows of a page share images, teacher, initial student weights, order of batches and number of steps. "
        "Each page checks this from its records.",
        "**Upper references** see more data. They stand below the other rows and are never ranked.",
        "“–” marks a cell without a finished trial. It is left out of every average.",
        "A *gain* is a paired difference from the task's baseline. Its p is adjusted for all comparisons of the page.",
        "Compare times only within one kind of device.",
    ]
    return Document(
        "README",
        "Leaderboard",
        COMMAND,
        (
            table(heads, rows, left=(0, len(heads) - 1)),
            over_tasks or "",
            Section("How to read the tables", (Bullets(tuple(map(rich, reading))),)),
            "`jkbench leaderboard` generates every page from the records; no number is typed by hand.",
        ),
    )


def _tied(page: Page) -> list[str]:
    """The tie groups of the main table in words, columns of the same group together."""
    grid = page.grid
    found: dict[tuple[str, str], list[str]] = {}
    for block in grid.main:
        for column in block.columns:
            found_here = page.ties[column]
            scored = len(found_here.tied) + len(found_here.behind - found_here.short)
            names = [label for label in grid.labels if label in found_here.tied]
            words = listed(names) if len(names) <= 3 else f"{len(names)} of {scored} tied"
            along = block.along == "shots"
            where = found.setdefault(("" if along else f"{per_class(block.shots)}, std ", words), [])
            if names:
                where.append(per_class(column.shots) if along else f"{column.noise:g}")
    return [f"{prefix}{', '.join(places)}: {words}" for (prefix, words), places in found.items() if places]
