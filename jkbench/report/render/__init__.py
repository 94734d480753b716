"""Documents as files: Markdown for every page, drawings, and LaTeX and CSV where a page has them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jkbench.files import write_atomically
from jkbench.report.document import Document, Drawing
from jkbench.report.render import csv, latex, markdown


def files(document: Document, formats: Sequence[str] = ("png",)) -> dict[str, str | bytes]:
    """The files of a page by name; its drawings in each of these formats ("png", "pdf", "svg")."""
    found: dict[str, str | bytes] = {f"{document.name}.md": markdown.render(document)}
    found |= {f"tex/{name}.tex": text for name, text in latex.render(document).items()}
    if document.data is not None:
        found[f"{document.name}.csv"] = csv.render(document.data)
    for block in document.every():
        if isinstance(block, Drawing):
            from jkbench.report.figures import save

            found |= {f"{block.name}.{kind}": save(block.make, kind) for kind in formats}
    return found


def write(folder: Path, document: Document, formats: Sequence[str] = ("png",)) -> list[Path]:
    """Write the files of a page, where they change; returns all of its files.

    The same document gives the same bytes. LaTeX tables and a figure that the page no longer has are removed.
    Raises `UserError` where the folder cannot be written.
    """
    contents = files(document, formats)
    tables = [
        old for old in folder.glob(f"tex/{document.name}--*.tex") if "--" not in old.stem[len(document.name) + 2 :]
    ]  # not those of a page whose name begins with this one's
    for old in [*tables, *folder.glob(f"{document.name}.png")]:
        if str(old.relative_to(folder)) not in contents:
            old.unlink()
    for name, content in contents.items():
        path, new = folder / name, content.encode() if isinstance(content, str) else content
        if not path.is_file() or path.read_bytes() != new:
            write_atomically(path, new)
    return [folder / name for name in contents]
