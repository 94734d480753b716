"""Recipes: everything that decides what a trained reference network is, and their hashes. Nothing imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from jkbench import fingerprint
from jkbench.plugins.source import Source
from jkbench.task import REVISION, Images, Task, Training

Role = Literal["teacher", "student"]


@dataclass(frozen=True)
class Recipe:
    """How a reference network is made: the teacher, or a student pre-trained on all that the teacher saw."""

    role: Role
    architecture: str
    training: Training
    images: Images
    dataset_code: str
    seed: int

    @property
    def content(self) -> dict[str, Any]:
        """What the hash is taken of, as JSON."""
        return {
            "role": self.role,
            "architecture": self.architecture,
            "training": self.training.model_dump(mode="json"),
            "images": self.images.model_dump(mode="json"),
            "dataset_code": self.dataset_code,
            "seed": self.seed,
            "revision": REVISION,
        }

    @property
    def hash(self) -> str:
        """The name that the trained network is kept under."""
        return fingerprint.of_value(self.content)


def of_task(task: Task, datasets: Mapping[str, Source], role: Role = "teacher") -> Recipe | None:
    """The recipe of a task's teacher, or of its pre-trained student: same images, same training as the teacher's.

    None where the task has no teacher.
    """
    if task.teacher is None:
        return None
    images = task.teacher_images
    return Recipe(
        role=role,
        architecture=task.teacher.architecture if role == "teacher" else task.student.architecture,
        training=task.teacher.training,
        images=images,
        dataset_code=datasets[images.dataset].code,
        seed=task.teacher.seed,
    )
