"""What a record must satisfy by itself: names, hashes, bounds, and relations between its numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from jkbench import planning
from jkbench.errors import UserError
from jkbench.plugins import parameters
from jkbench.plugins.describe import Plugin
from jkbench.plugins.discovery import Index
from jkbench.records import teachers, weights
from jkbench.records.predicted import right
from jkbench.records.schema import Record, unpack_labels
from jkbench.records.teachers import Recipe
from jkbench.records.weights import Described
from jkbench.tasks.shots import FULL
from jkbench.tasks.task import Task

NEEDED = ("cost", "data", "pairing", "environment", "predictions")
TEACHER_ROUNDING = 5e-3
"""How far the stored accuracy of a teacher may be off: other machines round logits differently."""


@dataclass(frozen=True)
class Known:
    """What the records of one task are held against: the present task, its plugins, and its stored networks."""

    task: Task
    index: Index
    recipes: Mapping[teachers.Role, Recipe]
    networks: Mapping[teachers.Role, Described]

    @classmethod
    def of(cls, task: Task, index: Index, folder: Path) -> Known:
        """``folder``: of the networks."""
        datasets = {name: index.find("dataset", name) for name in (task.target.dataset, task.teacher_images.dataset)}
        recipes = teachers.present(folder, task, datasets).recipes
        found = {role: weights.described(teachers.path(folder, recipe)) for role, recipe in recipes.items()}
        return cls(task, index, recipes, {role: network for role, network in found.items() if network is not None})

    @property
    def datasets(self) -> dict[str, Plugin]:
        """The plugins of the task's data sets."""
        names = (self.task.target.dataset, self.task.teacher_images.dataset)
        return {name: self.index.find("dataset", name) for name in names}

    def current_code(self, record: Record) -> Plugin | None:
        """The plugin of a record's method, where it is the one that the record was made with."""
        found = self.index.methods().get(record.method)
        return found if found is not None and found.code == record.code else None


def faults(record: Record, known: Known) -> Iterator[str]:
    """A sentence for each thing that cannot be so. Records of an earlier protocol are held against themselves alone."""
    yield from _shape(record)
    if record.status == "ok" and not any(getattr(record, name) is None for name in NEEDED):
        yield from _numbers(record)
    if record.protocol == known.task.protocol:
        yield from _identity(record, known)
        yield from _of_task(record, known)
        yield from _teacher(record, known)


def _shape(record: Record) -> Iterator[str]:
    """Whether the parts that its status needs are there."""
    if record.status == "ok":
        missing = [name for name in NEEDED if getattr(record, name) is None]
        missing += [name for name in ("accuracy", "nll", "ece") if name not in record.metrics]
        if missing:
            yield f"it is finished and has no {', '.join(missing)}"
    elif record.metrics or record.predictions:
        yield f"it is {record.status} and has metrics or predictions"
    if any(later <= earlier for earlier, later in pairwise(record.curve_steps)):
        yield "the steps of its curves do not increase"
    for name, curve in record.curves.items():
        if len(curve) > len(record.curve_steps):
            yield f"its curve of {name} has {len(curve)} values for {len(record.curve_steps)} steps"


def _numbers(record: Record) -> Iterator[str]:
    """Predictions, counts and bounds that hold in any task."""
    data, cost, metrics = record.data, record.cost, record.metrics
    assert data is not None
    assert cost is not None
    assert record.predictions is not None
    accuracy, images = metrics.get("accuracy", 0.0), data.scored_images
    try:
        predicted = unpack_labels(record.predictions)
    except ValueError as error:
        yield f"its predictions cannot be unpacked: {error}"
        return
    if len(predicted) != images or max(predicted, default=0) >= data.classes:
        yield f"its predictions are not {images} labels below {data.classes}"
    elif sum(data.scored_per_class or ()) not in (0, images):
        yield f"its classes have {sum(data.scored_per_class or ())} scored images, not {images}"
    elif right(record) is None:
        yield f"its predictions do not give its accuracy of {accuracy:g}"
    for name in ("agreement", "source_agreement"):
        share = metrics.get(name, 0.0) * images
        if abs(share - round(share)) > 1e-3:
            yield f"its {name} of {metrics[name]:g} is not a count of {images} images"
    if metrics.get("nll", math.inf) < (1 - accuracy) * math.log(2) - 1e-6:
        yield f"its nll of {metrics['nll']:g} is impossible at its accuracy: a wrong image costs ln 2 or more"
    if cost.seconds + cost.signals_seconds < 0.4 * cost.steps * cost.step_ms / 1000:
        yield f"its {cost.steps} steps of {cost.step_ms:g} ms do not fit into {cost.seconds:g} seconds"


def _identity(record: Record, known: Known) -> Iterator[str]:
    """Whether its id is that of what it says."""
    codes = {name: plugin.code for name, plugin in known.datasets.items()}
    timed = known.task.budget is not None
    wanted = planning.id_of(
        record.task, record.protocol, codes, record.method, record.code, record.parameters, record.shots, record.seed,
        record.split, record.cost.steps if timed and record.cost else None,
    )  # fmt: skip
    ended_early = timed and record.status != "ok"  # then it does not say how long it was to be
    if record.id != wanted and not ended_early:
        yield (
            "its id is not the hash of its task, data set's code, method's code, parameters, regime, seed and split: "
            "one of them was edited, or the data set's code has changed since"
        )
    plugin = known.current_code(record)
    if plugin is None:
        return
    if record.reference != plugin.reference:
        yield f"it says reference = {record.reference}, its method says {plugin.reference}"
    try:
        if parameters.validate(plugin, record.parameters) != record.parameters:
            yield "it lacks parameters of its method"
    except UserError as error:
        yield error.message


def _of_task(record: Record, known: Known) -> Iterator[str]:
    """Whether images and budget are those of the task."""
    task, data, cost = known.task, record.data, record.cost
    if record.task_version != task.version:
        yield f"it names version {record.task_version} of the task, but its protocol is that of version {task.version}"
    if data is None or cost is None:
        return
    if data.dataset != task.target.dataset:
        yield f"its images are from {data.dataset}, the task's from {task.target.dataset}"
    if record.shots != FULL and data.train_images != record.shots * data.classes:
        yield f"it was trained on {data.train_images} images, not on {record.shots} of each of {data.classes} classes"
    budget = task.student.training.length(data.train_images)
    if record.status == "ok" and task.budget is None and cost.steps != budget:
        yield f"it took {cost.steps} steps; the budget is {budget}"


def _teacher(record: Record, known: Known) -> Iterator[str]:
    """Whether its teacher, and the network that it started from, are those of the task."""
    made, stored, used = known.recipes.get("teacher"), known.networks.get("teacher"), record.teacher
    if (used is None) != (made is None) and record.status == "ok":
        yield (
            "it names a teacher, but the task has none" if made is None else "it names no teacher, but the task has one"
        )
    if used is not None and made is not None:
        yield from _differ("teacher's", "recipe", used.recipe, made.hash)
        yield from _differ("teacher's", "architecture", used.architecture, made.architecture)
        if stored is not None:
            yield from _differ("teacher's", "weights", used.weights, stored.weights)
            yield from _differ("teacher's", "accuracy", used.accuracy, stored.accuracy)
    started, network = known.recipes.get("student"), known.networks.get("student")
    if record.started_recipe and started is not None:
        yield from _differ("start's", "recipe", record.started_recipe, started.hash)
    if record.started_from and network is not None:
        yield from _differ("start's", "weights", record.started_from, network.weights)
    if used is not None and used.accuracy is not None and "agreement" in record.metrics and record.split == "test":
        accuracy, agreement = record.metrics.get("accuracy", 0.0), record.metrics["agreement"]
        low, high = accuracy + used.accuracy - 1, 1 - abs(accuracy - used.accuracy)
        if not low - TEACHER_ROUNDING <= agreement <= high + TEACHER_ROUNDING:
            yield f"its agreement of {agreement:g} is impossible: by both accuracies it lies in {low:.4g} to {high:.4g}"


def _differ(whose: str, what: str, held: object, wanted: object) -> Iterator[str]:
    if held != wanted:
        yield f"its {whose} {what} is {held}, not {wanted}"
