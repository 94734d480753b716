"""Columns of a table in panels that are no wider than the page or the screen."""

from __future__ import annotations

from collections.abc import Sequence


def fit(widths: Sequence[float], room: float) -> list[list[int]]:
    """Columns in panels of at most ``room``, each of which begins with column 0; in order, as few as there can be.

    A column that is too wide for any panel has one of its own. Widths and room are in one unit.
    """
    found: list[list[int]] = [[0]]
    left = room - widths[0]
    for column, width in enumerate(widths[1:], 1):
        if width > left and len(found[-1]) > 1:
            found.append([0])
            left = room - widths[0]
        found[-1].append(column)
        left -= width
    return found
