"""Recipes: everything that decides what a trained reference network is, and their hashes. Nothing imports torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from jkbench import hashing
from jkbench.errors import UserError
from jkbench.files import data_folder, write_atomically
from jkbench.plugins.describe import Plugin
from jkbench.records.weights import described
from jkbench.tasks.task import REVISION, Images, Pretrained, StudentSpec, Task, TeacherSpec, Training

if TYPE_CHECKING:
    from jkbench.records.schema import Outline

Role = Literal["teacher", "student"]


@dataclass(frozen=True)
class Recipe:
    """How a reference network is made: the teacher, or a student pre-trained on all that the teacher saw.

    It is trained here on ``images``, or ``pretrained`` by somebody else.
    """

    role: Role
    architecture: str
    training: Training | None = None
    images: Images | None = None
    dataset_code: str = ""
    seed: int = 0
    pretrained: Pretrained | None = None
    file: str = ""
    """Hash of the file of weights that the task names; empty where timm fetches them."""

    @property
    def content(self) -> dict[str, Any]:
        """What the hash is taken of, as JSON. Whoever else uses pre-trained weights uses the same."""
        if self.pretrained is not None:
            content = {"architecture": self.architecture, "pretrained": self.pretrained.model_dump(mode="json")}
            return content | ({"file": self.file} if self.file else {})
        assert self.training is not None
        assert self.images is not None
        return {
            "role": self.role,
            "architecture": self.architecture,
            "training": self.training.model_dump(mode="json"),
            "images": self.images.model_dump(mode="json"),
            "dataset_code": self.dataset_code,
            "seed": self.seed,
            "revision": REVISION,
        }

    @cached_property
    def hash(self) -> str:
        """The name that the trained network is stored under."""
        return hashing.of_value(self.content)


def of_task(task: Task, datasets: Mapping[str, Plugin], role: Role = "teacher") -> Recipe | None:
    """The recipe of a task's teacher, or of its pre-trained student: same images, same training as the teacher's.

    None where the task has no teacher, or no student that saw what a pre-trained teacher saw.
    """
    images = task.teacher_images
    return _recipe(role, task.teacher, task.student, images, datasets[images.dataset].code)


@cache
def _recipe(
    role: Role, teacher: TeacherSpec | None, student: StudentSpec, images: Images, dataset_code: str
) -> Recipe | None:
    """Resolved once a task and process: every trial of it learns from the same networks."""
    if teacher is None:
        return None
    network = teacher if role == "teacher" else student
    if network.pretrained is not None:
        weights = network.pretrained.weights
        file = "" if weights is None else _hash_of_file(weights)
        return Recipe(role, network.architecture, pretrained=network.pretrained, file=file)
    if teacher.training is None:
        return None
    return Recipe(role, network.architecture, teacher.training, images, dataset_code, teacher.seed)


@cache
def _hash_of_file(file: Path) -> str:
    try:
        return hashing.of_bytes(file.read_bytes())
    except OSError as error:
        raise UserError(
            f"the weights {file} that the task names cannot be read: {error.strerror}",
            "fix the path in the task (it is relative to the task's file), or leave it out: timm then downloads them",
        ) from None


def path(folder: Path, recipe: Recipe) -> Path:
    """Where the network of a recipe is stored: in the leaderboard folder, or what all can share beside the data."""
    if recipe.pretrained is not None:
        return data_folder() / "weights" / f"{recipe.architecture.replace(':', '-')}-{recipe.hash}.safetensors"
    return folder / "teachers" / f"{recipe.role}-{recipe.hash}.safetensors"


@dataclass(frozen=True)
class Present:
    """The reference networks of a task as they are now: recipes, and the weights of those that are stored."""

    recipes: Mapping[Role, Recipe]
    weights: Mapping[Role, str]

    def are_others(self, record: Outline) -> bool:
        """Whether a record's teacher, or the weights that its student started from, were others than these.

        Known where the networks are stored, or the task names the file that holds them.
        """
        teacher = record.teacher
        used: dict[Role, tuple[str | None, str | None]] = {
            "teacher": (None, None) if teacher is None else (teacher.recipe, teacher.weights),
            "student": (record.started_recipe, record.started_from),
        }
        for role, made in self.recipes.items():
            hash_then, weights_then = used[role]
            if made.file and hash_then and hash_then != made.hash:
                return True
            if role in self.weights and weights_then and weights_then != self.weights[role]:
                return True
        return False


def present(folder: Path, task: Task, datasets: Mapping[str, Plugin]) -> Present:
    """The networks that trials of a task would learn from and start from now; no weights are read.

    One whose file the task names and that cannot be read is left out: who trains refuses it, if it is needed.
    """
    roles: tuple[Role, ...] = get_args(Role)
    recipes: dict[Role, Recipe] = {}
    for role in roles:
        with suppress(UserError):
            if (made := of_task(task, datasets, role)) is not None:
                recipes[role] = made
    found = {role: described(path(folder, made)) for role, made in recipes.items()}
    return Present(recipes, {role: network.weights for role, network in found.items() if network})


def check_accuracy(task: Task, accuracy: float | None) -> None:
    """`UserError` where a teacher has less than its task states."""
    stated = None if task.teacher is None else task.teacher.accuracy
    if stated is not None and accuracy is not None and accuracy < stated:
        raise UserError(
            f"{task.name}: the teacher has {100 * accuracy:.2f} % on its test images, and the task states at least "
            f"{100 * stated:.2f} %",
            "change how it is trained ([teacher.training]), import another, or correct [teacher] accuracy",
        )


def check_stored(folder: Path, task: Task, datasets: Mapping[str, Plugin]) -> None:
    """As `check_accuracy`, of the teacher that is stored, by its metadata; nothing where none is."""
    made = of_task(task, datasets)
    stored = None if made is None else described(path(folder, made))
    check_accuracy(task, None if stored is None else stored.accuracy)


def bring(folder: Path, beside: Iterable[Path], task: Task, datasets: Mapping[str, Plugin]) -> None:
    """Copy a task's networks from the folders beside where ``folder`` has none: its trials learn from the same."""
    for made in present(folder, task, datasets).recipes.values():
        target = path(folder, made)
        for file in (path(other, made) for other in beside):
            if file.is_file() and not target.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(target, file.read_bytes())
