"""What is done: the trials of a plan that have a result of the present teacher and start, and those that do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jkbench.planning import Plan, Trial
from jkbench.plugins.describe import Plugin
from jkbench.records import teachers
from jkbench.records.schema import FINAL
from jkbench.records.store import RecordSet
from jkbench.tasks.task import Task


@dataclass(frozen=True)
class Standing:
    """Which trials of a plan are done, and what is known of the missing ones."""

    plan: Plan
    missing: list[Trial]
    failed_before: int
    of_others: int

    @property
    def done(self) -> int:
        """How many trials have a result."""
        return len(self.plan.trials) - len(self.missing)

    def in_words(self) -> str:
        """``digits: 8 trials, 3 done, 5 to run (2 of them failed before)``."""
        notes = {"failed before": self.failed_before, "from another teacher or start": self.of_others}
        parts = ", ".join(f"{count} of them {what}" for what, count in notes.items() if count)
        text = f"{self.plan.task.name}: {len(self.plan.trials)} trials, {self.done} done, {len(self.missing)} to run"
        return text + (f" ({parts})" if parts else "")


def of_others(loaded: RecordSet, folder: Path, task: Task, datasets: Mapping[str, Plugin]) -> set[str]:
    """Ids of the results that are of another teacher, or of another start, than the folder's present ones."""
    networks = teachers.present(folder, task, datasets)
    return {r.id for r in loaded.records.values() if r.status in FINAL and networks.are_others(r)}


def standing(plan: Plan, loaded: RecordSet, folder: Path) -> Standing:
    """How far a plan is, by the records of its task in ``folder``."""
    stale = of_others(loaded, folder, plan.task, plan.trials[0].datasets)
    done = {record.id for record in loaded.records.values() if record.status in FINAL} - stale
    missing = [trial for trial in plan.trials if trial.id not in done]
    failed = sum(trial.id in loaded.records and trial.id not in stale for trial in missing)
    return Standing(plan, missing, failed, sum(trial.id in stale for trial in missing))
