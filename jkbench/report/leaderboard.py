"""All pages of a leaderboard folder, written from records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jkbench.files import write_atomically
from jkbench.records.select import Chosen
from jkbench.report import figure, markup, tidy, transfer_figure
from jkbench.report.page import Page, compose


def write_leaderboard(folder: Path, pages: Sequence[Chosen]) -> list[Path]:
    """Write an index and, for each task, its page as Markdown, LaTeX, CSV and a figure, a transfer task's with a second
    one; returns what was written.

    The same records give the same bytes. A task without a finished trial has no figure.
    Raises `UserError` where the folder cannot be written.
    """
    contents: dict[str, str | bytes] = {}
    composed = sorted((compose(chosen) for chosen in pages), key=lambda page: page.task.name)
    for page in composed:
        contents |= render(page)
    contents["README.md"] = markup.render_markdown("index.md.j2", pages=composed)
    written = []
    for name, content in contents.items():
        write_atomically(folder / name, content)
        written.append(folder / name)
    return written


def render(page: Page) -> dict[str, str | bytes]:
    """The files of one page by name."""
    name = page.task.name
    image, second = figure.draw(page), transfer_figure.draw(page)
    files: dict[str, str | bytes] = {
        f"{name}.md": markup.render_markdown(
            "page.md.j2",
            page=page,
            figure=image is not None,
            left_out=figure.left_out(page),
            lines=len(page.grid.columns) > 1,
            second_figure=transfer_figure.says(page) if second else "",
        ),
        f"{name}.tex": markup.render_tex("page.tex.j2", page=page),
        f"{name}.csv": tidy.to_csv(page),
    }
    if image is not None:
        files[f"{name}.png"] = image
    if second is not None:
        files[f"{name}-transfer.png"] = second
    return files
