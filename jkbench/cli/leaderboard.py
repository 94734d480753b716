"""``jkbench leaderboard``: pages, LaTeX, CSV and figures, from the records alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jkbench.cli import options
from jkbench.errors import UserError
from jkbench.files import write_atomically

if TYPE_CHECKING:
    from jkbench.plugins.discovery import Index
    from jkbench.records.select import Chosen
    from jkbench.report.document import Document
    from jkbench.report.page import Page


@click.command(epilog=options.examples("jkbench leaderboard --leaderboard leaderboard"))
@options.plugins
@options.leaderboard_folder
@options.beside
@click.option(
    "--split", type=click.Choice(["test", "validation"]), default="test", show_default=True,
    help="Which records to show. Pages of validation records go to DIR/validation.",
)  # fmt: skip
@click.option(
    "--figures", "formats", type=click.Choice(["png", "pdf", "svg"]), multiple=True, default=["png"],
    show_default=True, help="Also write figures in this format; PNG is always written. Repeatable.",
)  # fmt: skip
@click.option(
    "--readme", metavar="FILE", type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="Also update the tables between <!-- table: TASK ROW ROW --> and <!-- end of table --> in FILE.",
)  # fmt: skip
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if a file does not match the records.")
@click.option("--html", is_flag=True, help="Also write the board: one page for a browser, index.html.")
@click.option(
    "--paper", metavar="DIR", type=click.Path(path_type=Path, file_okay=False),
    help="Also write what a paper needs: tables, figures (PDF, SVG), cells by name, a bibliography, paragraphs.",
)  # fmt: skip
def leaderboard(
    plugins: tuple[Path, ...],
    folder: Path,
    beside: tuple[Path, ...],
    split: Any,
    formats: tuple[str, ...],
    readme: Path | None,
    check: bool,
    html: bool,
    paper: Path | None,
) -> int:
    """Write the pages of all tasks from their records.

    Each page is written as Markdown and CSV, with figures, and its tables as LaTeX in tex/. README.md is the index.
    """
    from jkbench.plugins.discovery import discover
    from jkbench.records.select import every
    from jkbench.records.store import Store
    from jkbench.report.excerpt import fill
    from jkbench.report.leaderboard import differences
    from jkbench.report.page import compose

    store = Store(folder, beside)
    if not store.tasks():
        raise UserError(f"there are no records in {folder}", "jkbench run --methods all --task digits-fewshot")
    index, complaints = discover(plugins), store.complaints()
    chosen = every(store, index, split, complaints, store.read if check else store.fold)

    def page(name: str) -> Page:
        found = {each.name: each for each in every(store, index, split, [], store.read)}
        if name not in found:
            raise UserError(f"{readme}: there is no page {name!r}", f"there are: {', '.join(sorted(found))}")
        return compose(found[name])

    place = folder if split == "test" else folder / split
    wrong = list(differences(place, chosen)) if check else []
    if not check:
        # pages link the PNG, whatever else is asked for
        for path in _write(place, chosen, list(dict.fromkeys(["png", *formats])), index, html, paper):
            click.echo(path)
    if readme is not None:
        text = readme.read_text(encoding="utf-8")
        filled = fill(text, page)
        if not check:
            write_atomically(readme, filled.encode())
        elif filled != text:
            wrong.append(f"{readme}: its tables do not match the records")
    for complaint in complaints:
        click.echo(f"warning: {complaint}", err=True)
    for difference in wrong:
        click.echo(difference)
    if wrong:
        click.echo(f"{len(wrong)} files do not match the records; to write them: jkbench leaderboard", err=True)
    return 1 if wrong else 0


def _write(
    place: Path, chosen: Iterable[Chosen], formats: list[str], index: Index, html: bool, paper: Path | None
) -> Iterator[Path]:
    """Write the pages, and what else is asked for; the files that somebody opens."""
    from jkbench.report import paper as papers
    from jkbench.report.board import page as board
    from jkbench.report.leaderboard import write_leaderboard

    boards: list[board.Part] = []
    parts: list[papers.PaperPart] = []

    def seen(page: Page, made: Document) -> None:
        if html:
            boards.append(board.part(page, made, index))
        if paper is not None:
            parts.append(papers.part(page, made, index))

    yield from (path for path in write_leaderboard(place, chosen, formats, seen) if path.suffix == ".md")
    if html:
        write_atomically(place / board.NAME, board.render(boards))
        yield place / board.NAME
    if paper is not None:
        yield from (path for path in papers.write_paper(paper, parts) if path.name == "example.tex")
