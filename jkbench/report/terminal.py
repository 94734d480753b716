"""A task's main table on the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jkbench.records.select import Chosen
from jkbench.report.page import compose, summary
from jkbench.report.render import terminal

if TYPE_CHECKING:
    from rich.console import RenderableType


def terminal_table(chosen: Chosen) -> RenderableType:
    """Accuracy and costs with tie groups in bold; then what is missing, and what does not add up."""
    return terminal.render(summary(compose(chosen)))
