"""What is known of a record before its trial runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from jkbench.plan import Trial


def blank(trial: Trial) -> dict[str, Any]:
    """The fields of a record that are known before the trial runs."""
    return {
        "id": trial.id,
        "task": trial.task.name,
        "task_version": trial.task.version,
        "protocol": trial.task.protocol,
        "method": trial.row.source.name,
        "parameters": trial.row.parameters,
        "label": trial.row.label,
        "code": trial.row.source.code,
        "reference": trial.row.source.reference,
        "shots": trial.shots,
        "seed": trial.seed,
        "split": trial.split,
        "created": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }
