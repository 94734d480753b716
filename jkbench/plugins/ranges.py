"""Where a parameter is searched when it is tuned."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jkbench.errors import UserError

DIGITS = 3
"""Significant digits of a value that is tried: it is read in tables."""


@dataclass(frozen=True)
class Range:
    """Where a parameter is tuned, both ends included; on a log scale or a linear one.

    Raises `UserError` where it is empty or reversed.
    """

    low: float
    high: float
    log: bool = True

    def __post_init__(self) -> None:
        if not -math.inf < self.low < self.high < math.inf:
            raise UserError(f"the range from {self.low:g} to {self.high:g} is empty or reversed")
        if self.log and self.low <= 0:
            raise UserError(f"the range from {self.low:g} to {self.high:g} has no log scale: it must begin above 0")

    def value(self, share: float) -> float:
        """The value at this share, 0 to 1, of the way from low to high."""
        low, high = self._ends
        at = low + share * (high - low)
        return float(f"{math.exp(at) if self.log else at:.{DIGITS}g}")

    def side(self, value: float, margin: float) -> str | None:
        """``low`` or ``high`` where a value lies in the outermost ``margin`` of that side, or beyond; else None."""
        if value <= self.value(margin):
            return "low"
        return "high" if value >= self.value(1 - margin) else None

    def widened(self, side: str | None) -> Range:
        """The range with half of its length more on that side; it does not cross zero."""
        low, high = self._ends
        low, high = (low - (high - low) / 2, high) if side == "low" else (low, high + (high - low) / 2)
        if side is None:
            return self
        if self.log:
            return Range(float(f"{math.exp(low):.{DIGITS}g}"), float(f"{math.exp(high):.{DIGITS}g}"))
        return Range(max(low, 0.0) if self.low >= 0 else low, high, log=False)

    @property
    def _ends(self) -> tuple[float, float]:
        return (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
