"""Numbers and names as a reader sees them. Names stand in backticks; `render` turns them into Markdown or LaTeX."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence

from jkbench.plugins.parameters import written
from jkbench.statistics import Interval

DASH = "–"
LOST = {
    "diverged": "diverged",
    "failed": "failed",
    "oom": "out of memory",
    "timeout": "timed out",
    "no value": "no value",
}


def plural(count: int, noun: str) -> str:
    """``3 records``, ``1 record``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def code(name: str) -> str:
    """A name as code, on one line."""
    return "`" + " ".join(name.replace("`", "'").split()) + "`"


def listed(names: Iterable[str], most: int | None = 12) -> str:
    """Names as code, cut with a count after ``most``; None: all of them."""
    every = [code(name) for name in names]
    more = len(every) - (most or len(every))
    return ", ".join(every[:most]) + (f" and {more} more" if more > 0 else "")


def settings(parameters: Mapping[str, object]) -> str:
    """Parameters by name: ``act = 0.001, depth = last``; ``none`` of none."""
    return ", ".join(written(parameters, " = ")) or "none"


def significant(value: float, digits: int = 3) -> str:
    """A positive number with that many significant digits and no exponent: ``1234``, ``12.3``, ``0.0123``."""
    if value == 0:
        return "0"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{places}f}"


def signed(value: float, digits: int = 2) -> str:
    """``+1.50``, ``−0.25``."""
    return f"{value:+.{digits}f}".replace("-", "−")


def measured(found: Interval | None, digits: int = 2, sign: bool = False) -> str:
    """``39.55 ± 0.41``; without an interval the mean alone, and nothing of nothing."""
    if found is None:
        return ""
    mean = signed(found.mean, digits) if sign else f"{found.mean:.{digits}f}"
    return mean if found.half_width is None else f"{mean} ± {found.half_width:.{digits}f}"


def slug(name: str) -> str:
    """A name as part of a file's name."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", name)


def compact(count: float) -> str:
    """A large number with a unit of thousands: ``1.23 M``, ``45.6 k``, ``789``."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{significant(count / size)} {unit}"
    return f"{count:g}"


def p_value(p: float) -> str:
    """``p = 0.0625``; below a thousandth ``p < 0.001``."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3g}"


def ranges(numbers: Sequence[int]) -> str:
    """Whole numbers as ranges: ``0–4, 7``."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}–{b}" for a, b in runs)
