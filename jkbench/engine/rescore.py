"""What stored predictions, labels and seeds decide of a record, computed again from the task's images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from jkbench.data.arrays import subset
from jkbench.engine import images as image_sets
from jkbench.engine import scoring
from jkbench.engine import teacher as networks
from jkbench.engine.batches import Batches
from jkbench.engine.setup import training_pool
from jkbench.errors import UserError
from jkbench.plugins.describe import Plugin
from jkbench.records import schema, teachers
from jkbench.records.schema import Record
from jkbench.tasks.shots import Shots, SplitName
from jkbench.tasks.task import Task

CPU = torch.device("cpu")


class Rescored:
    """The images of one task and its stored teacher, with what each regime, seed and split decides."""

    def __init__(self, task: Task, datasets: Mapping[str, Plugin], folder: Path) -> None:
        self.task, self.folder, self.datasets = task, folder, datasets
        self.data = image_sets.of_task(task, dict(datasets))
        self._pairings: dict[tuple[str, Shots, int, int | None], dict[str, str]] = {}
        self._by_teacher: dict[SplitName, NDArray[np.int64]] = {}

    @cached_property
    def teacher(self) -> networks.TrainedNetwork | None:
        """The stored teacher; None where its labels are others, or no file of it is here."""
        recipe = teachers.of_task(self.task, self.datasets)
        if recipe is None or not self.task.family.same_labels or not teachers.path(self.folder, recipe).is_file():
            return None
        return networks.load(self.folder, recipe, self.data.source, CPU)

    def taught(self, split: SplitName) -> NDArray[np.int64] | None:
        """The teacher's labels of a split, N; None without a teacher."""
        if self.teacher is None:
            return None
        if split not in self._by_teacher:
            images = image_sets.on_device(self.data.target.splits[split], self.data.normalisation, CPU)
            self._by_teacher[split] = scoring.logits(self.teacher.copy(), images).argmax(1).numpy()
        return self._by_teacher[split]

    def pairing(self, record: Record) -> dict[str, str]:
        """The hashes of a record's training images and of their order, which its regime and seed decide.

        Not that of the initial weights: torch draws them with other roundings on other processors.
        """
        splits = self.data.target.splits
        pool = training_pool(splits, record.split)
        steps = record.cost.steps if record.cost and self.task.budget else None
        key = (pool, record.shots, record.seed, steps)
        if key not in self._pairings:
            taken = splits[pool].take(subset(splits[pool].labels, record.shots, record.seed))
            images = image_sets.on_device(taken, self.data.normalisation, CPU)
            training = self.task.student.training
            training = training if steps is None else training.lasting(steps)
            order = Batches(images, training, record.seed).order_hash
            self._pairings[key] = {"subset": image_sets.pixel_hash(taken, images), "order": order}
        return self._pairings[key]

    def faults(self, record: Record) -> Iterator[str]:
        """A sentence for each number of a finished record that its predictions, or the images, contradict."""
        data, target = record.data, self.data.target
        if record.status != "ok" or data is None or record.predictions is None:
            return
        if data.content != target.content:
            yield f"its images (content {data.content}) differ from those here ({target.content})"
            return
        labels = target.splits[record.split].labels
        try:
            predicted = np.array(schema.unpack_labels(record.predictions))
        except ValueError as error:
            yield f"its predictions cannot be unpacked: {error}"
            return
        if len(predicted) != len(labels):
            yield f"it has {len(predicted)} predictions for {len(labels)} {record.split} images"
            return
        yield from _share("accuracy", record, float((predicted == labels).mean()), 0.5 / len(labels))
        taught = self.taught(record.split) if "agreement" in record.metrics else None
        if taught is not None:
            rounded = networks.ROUNDED + networks.ROUNDED_IMAGES / len(labels)
            yield from _share("agreement", record, float((predicted == taught).mean()), rounded)
        if record.pairing is not None:
            for name, wanted in self.pairing(record).items():
                if getattr(record.pairing, name) != wanted:
                    yield f"its {name} ({getattr(record.pairing, name)}) is not what its seed gives ({wanted})"


def _share(name: str, record: Record, wanted: float, rounded: float) -> Iterator[str]:
    held = record.metrics.get(name, float("nan"))
    if not abs(held - wanted) <= rounded:
        yield f"its {name} is {held:g}; its predictions give {wanted:g}"


def faults(
    task: Task, datasets: Mapping[str, Plugin], folder: Path, records: Sequence[Record]
) -> list[tuple[str, str]]:
    """The id of a record and a sentence, for each number that its predictions or the images contradict.

    ``folder`` has the teacher. Raises `UserError` where the images cannot be loaded.
    """
    rescored = Rescored(task, datasets, folder)
    found = []
    for record in records:
        try:
            found += [(record.id, fault) for fault in rescored.faults(record)]
        except UserError as error:
            found.append((record.id, error.message))
    return found
