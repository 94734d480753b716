"""Recipes: everything that decides what a trained reference network is, and their hashes. Nothing imports torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
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


METADATA = "jkbench"
"""The one key of a kept network's metadata: safetensors writes several in no fixed order."""


def path(folder: Path, recipe: Recipe) -> Path:
    """Where the network of a recipe is kept in a leaderboard folder."""
    return folder / "teachers" / f"{recipe.role}-{recipe.hash}.safetensors"


def kept(folder: Path, recipe: Recipe) -> dict[str, Any] | None:
    """What a kept network says of itself, weights unread; None where there is none, or it cannot be read."""
    return described(path(folder, recipe))


def described(file: Path) -> dict[str, Any] | None:
    """What the network in a file says of itself: recipe, weights' hash, accuracy; None where it cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np") as opened:
            return dict(json.loads((opened.metadata() or {}).get(METADATA, "{}")))
    except (SafetensorError, OSError, ValueError):
        return None
