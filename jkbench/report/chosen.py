"""What a page is made of."""

from __future__ import annotations

from dataclasses import dataclass

from jkbench.records.schema import Record
from jkbench.task import Task


@dataclass(frozen=True)
class Chosen:
    """The records that one page shows.

    records: of the test split, of the task's current protocol and code, one per (label, shots, seed), any status.
    stale: how many records were left out because their code, task or revision is an earlier one.
    expected: the (label, str(shots)) cells that the task plans; one without records is shown as "–" and counted.
    """

    task: Task
    records: list[Record]
    stale: int = 0
    expected: list[tuple[str, str]] | None = None
