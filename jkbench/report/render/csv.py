"""A document's numbers as CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def render(data: pd.DataFrame) -> str:
    """The data frame as CSV; a number is written so that reading it gives the very same one."""
    return str(data.to_csv(index=False, lineterminator="\n"))
