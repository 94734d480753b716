"""The page of the theory's checks: tables and a figure, all from one computation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jkbench.files import write_atomically
from jkbench.papers.theory import expansions, figure, transfer
from jkbench.papers.theory.expansions import LIMIT, SIGMA, Check
from jkbench.papers.theory.transfer import Bound
from jkbench.report.markup import render_markdown

NAME = "theory"


def write(folder: Path, quick: bool = False) -> tuple[list[Path], list[Check], list[Bound]]:
    """Compute everything and write ``theory.md`` and ``theory.png``. ``quick`` takes fewer draws and steps."""
    checks = list(expansions.checks(draws=4000 if quick else 40_000, images=6 if quick else 24))
    bounds = transfer.bounds()
    ties = expansions.at_ties(draws=500 if quick else 5000)
    students = figure.students(600 if quick else 3000)
    files: dict[str, str | bytes] = {
        f"{NAME}.png": figure.draw(students),
        f"{NAME}.md": render_markdown(
            "theory.md.j2", checks=[_row(check) for check in checks], bounds=bounds, students=students, sigma=SIGMA,
            limit=LIMIT, noise=figure.SIGMA, jitter=expansions.JITTER, ties=ties, measured=measured(folder),
        ),
    }  # fmt: skip
    written = []
    for name, content in files.items():
        write_atomically(folder / name, content)
        written.append(folder / name)
    return written, checks, bounds


def measured(folder: Path) -> list[str]:
    """The tasks whose measured bound has a page in this folder (`jkbench.papers.theory.bound_page`)."""
    return sorted(path.stem.removeprefix("bound-") for path in folder.glob("bound-*.md"))


def _row(check: Check) -> Sequence[str]:
    """A check as cells."""
    digits = max(2, _digits(check.error))
    return [
        f"{check.statement}, {check.networks}",
        f"{check.measured:.{digits}f} ± {check.error:.{digits}f}",
        f"{check.printed:.{digits}f}",
        "yes" if check.printed_agrees else "**no**",
        f"{check.whole:.{digits}f}",
        "yes" if check.whole_agrees else "**no**",
    ]


def _digits(error: float) -> int:
    """Decimals that show an error's first two digits, six at most."""
    count = 0
    while count < 6 and error * 10**count < 9.5:
        count += 1
    return count
