"""The batches of a training: their order, their views and the learning rate, which depend on seed and step alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jkbench import hashing
from jkbench.engine.augmentation import augmented, drawn
from jkbench.engine.clock import Clock
from jkbench.engine.images import ImageSet
from jkbench.engine.signals import Batch
from jkbench.seeds import numpy_stream, seed_of
from jkbench.tasks.task import Training

UPLOADED = 64
"""Steps whose draws for views are brought to the device at once."""


def ordered(images: int, training: Training, seed: int) -> list[NDArray[np.int64]]:
    """The index of every batch of a training, from the stream ``order``.

    Every epoch is one permutation cut into equal parts of at most ``training.batch`` images (sizes differ by one),
    so that every image is seen once an epoch and no batch is a lone image.
    """
    stream = numpy_stream("order", seed)
    parts = math.ceil(images / training.batch)
    total = training.length(images)
    order: list[NDArray[np.int64]] = []
    while len(order) < total:
        order += np.array_split(stream.permutation(images), parts)
    return order[:total]


@dataclass(frozen=True)
class Place:
    """Memory on the device that a recorded step reads its batch from: the index B, and the draws 6×B of its views."""

    index: Tensor
    draws: Tensor | None

    def copied(self) -> Place:
        """The same in new memory."""
        return Place(self.index.clone(), None if self.draws is None else self.draws.clone())


class Batches:
    """The batches of a training, and what depends on the step alone: order, views, learning rate."""

    def __init__(self, images: ImageSet, training: Training, seed: int) -> None:
        self.images = images
        self.training = training
        self.seed = seed
        self.order = ordered(len(images), training, seed)
        self.noise = torch.Generator(images.device).manual_seed(seed_of("noise", seed))
        index = torch.from_numpy(np.concatenate(self.order)).to(images.device)  # uploaded once
        self._index = index.split([len(part) for part in self.order])
        self._draws: tuple[int, Sequence[Tensor]] = (0, ())

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, step: int) -> Batch:
        """The images of one step."""
        return self.at(self.source(step), Clock(step, len(self)))

    def at(self, place: Place, clock: Clock) -> Batch:
        """The images that a place holds."""
        x = self.images.read(place.index)
        if self.training.augment is not None:
            assert place.draws is not None
            x = augmented(x, self.training.augment, place.draws)
        return Batch(x, self.images.labels[place.index], place.index, self.noise, clock)

    def source(self, step: int) -> Place:
        """Where the batch of one step is described, on the device."""
        return Place(self._index[step], self._views(step))

    def _views(self, step: int) -> Tensor | None:
        """The draws of a step's views, uploaded with those of the steps after it."""
        how = self.training.augment
        if how is None:
            return None
        first, held = self._draws
        if not first <= step < first + len(held):
            parts = [
                drawn(len(self.order[at]), how, torch.Generator().manual_seed(seed_of("augment", self.seed, at)))
                for at in range(step, min(step + UPLOADED, len(self)))
            ]
            sizes = [part.shape[1] for part in parts]
            self._draws = step, torch.cat(parts, 1).to(self.images.device).split(sizes, 1)
        first, held = self._draws
        return held[step - first]

    def rate(self, step: int) -> float:
        """The learning rate of one step: it drops once."""
        drop = self.training.drop_at
        if drop is not None and self.training.steps is None:
            drop *= len(self) // (self.training.epochs or 1)
        dropped = drop is not None and step >= drop
        return self.training.learning_rate * (self.training.drop_factor if dropped else 1.0)

    @property
    def order_hash(self) -> str:
        """The hash of all batches, in order."""
        return hashing.of_bytes(*(part.astype("<i8").tobytes() + b"|" for part in self.order))


class Places:
    """One place for each size of batch."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self._places: dict[int, Place] = {}

    def filled(self, step: int) -> Place:
        """The place of this step's size, with what the step reads: copied on the device."""
        source = self._batches.source(step)
        size = len(source.index)
        if size not in self._places:
            self._places[size] = source.copied()
        place = self._places[size]
        place.index.copy_(source.index)
        if place.draws is not None and source.draws is not None:
            place.draws.copy_(source.draws)
        return place


class Dial:
    """The learning rate in the device's memory, where a recorded step reads it."""

    def __init__(self, device: torch.device) -> None:
        self._rate = torch.zeros((), device=device)
        self._set: float | None = None

    def set(self, rate: float) -> Tensor:
        """The memory, which now holds this rate."""
        if rate != self._set:
            self._rate.fill_(rate)
            self._set = rate
        return self._rate
