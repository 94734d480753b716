"""Documents as files: Markdown for every page, drawings, and LaTeX and CSV where a page has them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import takewhile, zip_longest
from math import isclose
from pathlib import Path

from jkbench.files import write_atomically
from jkbench.report.document import Document, Drawing
from jkbench.report.render import latex, markdown


def files(document: Document, formats: Sequence[str] = ("png",)) -> dict[str, str | bytes]:
    """The files of a page by name; its drawings in each of these formats ("png", "pdf", "svg")."""
    found: dict[str, str | bytes] = {f"{document.name}.md": markdown.render(document)}
    found |= {f"tex/{name}.tex": text for name, text in latex.render(document).items()}
    if document.data is not None:
        found[f"{document.name}.csv"] = str(document.data.to_csv(index=False, lineterminator="\n"))
    for block in document.every():
        if isinstance(block, Drawing):
            from jkbench.report.figures import save

            found |= {f"{block.name}.{kind}": save(block.make, kind) for kind in formats}
    return found


_NUMBER = re.compile(r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)")


def differing(folder: Path, document: Document) -> Iterator[str]:
    """A sentence for each file of a page that is not there, or holds something else.

    Of a figure what it was drawn from is compared: its pixels depend on the fonts of the machine that drew it.
    """
    for name, content in files(document, ()).items():
        path = folder / name
        held = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None
        if held is None:
            yield f"{path}: it is missing"
        elif not _same(held, str(content)):
            pairs = enumerate(zip_longest(held.splitlines(), str(content).splitlines(), fillvalue=""), start=1)
            number, (one, other) = next((at, lines) for at, lines in pairs if not _same(*lines))
            alike = len(list(takewhile(lambda letters: letters[0] == letters[1], zip(one, other, strict=False))))
            start = max(0, alike - 20)
            yield f"{path}:{number}: it says {one[start : start + 60]!r}, the records {other[start : start + 60]!r}"
    for block in document.every():
        if isinstance(block, Drawing):
            from jkbench.report.figures import content as shown
            from jkbench.report.figures import held_content

            if not (path := folder / f"{block.name}.png").is_file():
                yield f"{path}: it is missing"
            elif held_content(path) != shown(block.make):
                yield f"{path}: it was drawn from other records"


def _same(one: str, other: str) -> bool:
    """Whether two texts are the same, but for the rounding of numbers in full precision."""
    if one == other:
        return True
    a, b = _NUMBER.split(one), _NUMBER.split(other)
    same_words = len(a) == len(b) and a[::2] == b[::2]
    return same_words and all(isclose(float(x), float(y)) for x, y in zip(a[1::2], b[1::2], strict=True))


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
