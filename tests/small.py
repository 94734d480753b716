"""Small real trials for tests: digits, tiny VGGs, a few steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from jkbench import planning as plan
from jkbench.engine import images as image_sets
from jkbench.engine.check import small_task
from jkbench.engine.loop import Loop
from jkbench.engine.setup import Where, make_ready, trained_networks
from jkbench.models.network import Network
from jkbench.planning import Trial
from jkbench.plugins.discovery import Index
from jkbench.plugins.method import Method
from jkbench.tasks.task import Task

CPU = torch.device("cpu")
ROOT = Path(__file__).parent.parent


def where(folder: Path, **changes: Any) -> Where:
    return Where(CPU, folder, **changes)


def task(kind: str = "distillation", **student: Any) -> Task:
    made = small_task(kind)
    if not student:
        return made
    training = made.student.training.model_copy(update=student)
    return made.model_copy(update={"student": made.student.model_copy(update={"training": training})})


def trial(index: Index, methods: str, kind: str = "distillation", seed: int = 0, **student: Any) -> Trial:
    (made,) = plan.make(task(kind, **student), index, methods, seeds=[seed]).trials
    return made


def loop_of(made: Trial, folder: Path) -> tuple[Loop, Method, Network, Network | None]:
    """A prepared loop, its method, student and teacher."""
    data = image_sets.of_task(made.task, made.datasets)
    ready = make_ready(made, CPU, data, trained_networks(made, where(folder), data))
    return ready.loop, ready.method, ready.student, ready.loop.teacher
