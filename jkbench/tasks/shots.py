"""A regime: how many training images per class the student gets, a number or ``"full"``. Nothing here
imports torch or pydantic."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Lt

from jkbench.errors import UserError

FULL: Literal["full"] = "full"
MOST = 10**9
Shots = Annotated[int, Ge(1), Lt(MOST)] | Literal["full"]
SplitName = Literal["test", "validation"]
"""The images that a trial is scored on."""


def size(shots: Shots) -> float:
    """The key that sorts regimes."""
    return float("inf") if shots == FULL else float(shots)


def parse(text: str, where: str = "") -> Shots:
    """``"5"`` as 5, ``"full"`` as it is. `UserError` for any other text."""
    if text == FULL:
        return FULL
    if text.isdecimal() and 0 < int(text) < MOST:
        return int(text)
    raise UserError(f"{where}{text!r} is not a number of images per class", 'write for example "1,5,50" or "full"')


def per_class(*regimes: object) -> str:
    """``5 per class``, ``1, 5 per class, full data``."""
    counts = ", ".join(str(shots) for shots in regimes if shots != FULL)
    return ", ".join([f"{counts} per class"] * bool(counts) + ["full data"] * (FULL in regimes))
