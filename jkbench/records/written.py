"""What a command writes for a task beside its records: ``KIND/TASK.json``, such as ``choices/digits-fewshot.json``."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from jkbench.errors import UserError
from jkbench.tasks.task import Task


class Portion(BaseModel):
    """A part of such a file: no field but the declared ones, none changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class OfTask(Portion):
    """The whole file. ``protocol``: of the task when it was written."""

    task: str
    protocol: str


Written = TypeVar("Written", bound=OfTask)


def read(model: type[Written], kind: str, command: str, task: Task, *folders: Path) -> Written | None:
    """The file of the first folder that has one; None without, and where it is of another protocol.

    `UserError` for a file that is not what ``command`` writes.
    """
    for path in (path_of(folder, kind, task.name) for folder in folders):
        if path.is_file():
            try:
                found = model.model_validate_json(path.read_bytes())
            except ValidationError as error:
                raise UserError(f"{path}: not what `{command}` writes: {error.errors()[0]['msg']}") from None
            return found if found.protocol == task.protocol else None
    return None


def path_of(folder: Path, kind: str, task: str) -> Path:
    """Where it is stored."""
    return folder / kind / f"{task}.json"
