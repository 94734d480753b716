"""Images that live on the device as one uint8 array, normalised as they are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from jkbench.data import arrays
from jkbench.data.arrays import Split
from jkbench.errors import UserError
from jkbench.plugins.loading import load
from jkbench.plugins.source import Source
from jkbench.task import Images, Task


@dataclass(frozen=True)
class Resident:
    """Images N×C×H×W uint8 (channels last in memory) and labels N on a device, with the channel statistics that
    normalise them."""

    images: Tensor
    labels: Tensor
    mean: Tensor
    std: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, index: Tensor | slice) -> Tensor:
        """Normalised float32 images at these positions, B×C×H×W."""
        return (self.images[index].float() / 255 - self.mean) / self.std

    def subset(self, index: Tensor) -> Resident:
        """The images at these positions, as a set of its own."""
        return Resident(self.images[index], self.labels[index], self.mean, self.std)


@dataclass(frozen=True)
class Loaded:
    """A data set as plain arrays: canonical splits, class names, and the hash of its content."""

    splits: dict[str, Split]
    classes: tuple[str, ...]
    content: str

    @property
    def size(self) -> tuple[int, int]:
        """Channels and side of an image in pixels."""
        shape = self.splits["train"].images.shape
        return shape[3], shape[1]


_WHOLE: dict[tuple[Path, str], Loaded] = {}


def _whole(source: Source) -> Loaded:
    """All of a data set, loaded once a process."""
    key = (source.path, source.code)
    if key not in _WHOLE:
        _WHOLE[key] = _load(source)
    return _WHOLE[key]


def _load(source: Source) -> Loaded:
    dataset = load(source)()
    try:
        splits = dict(dataset.load())
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"data set {source.name!r} cannot be loaded: {type(error).__name__}: {error}") from error
    arrays.check(source.name, splits, len(dataset.classes))
    splits = {name: arrays.canonical(split) for name, split in splits.items()}
    return Loaded(splits, tuple(dataset.classes), arrays.content(splits))


def images(source: Source, wanted: Images) -> Loaded:
    """The data set's canonical splits, of the classes that a task wants. `UserError` where it has no such class."""
    whole = _whole(source)
    if wanted.classes is None:
        return whole
    beyond = [label for label in wanted.classes if label >= len(whole.classes) or label < 0]
    if beyond:
        raise UserError(f"{source.name} has classes 0..{len(whole.classes) - 1}; the task asks for {beyond}")
    splits = {name: split.of_classes(wanted.classes) for name, split in whole.splits.items()}
    return Loaded(splits, tuple(whole.classes[label] for label in wanted.classes), whole.content)


def statistics(train: Split) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over the training images, C×1×1, of pixels in 0..1."""
    pixels = torch.from_numpy(train.images).double() / 255
    mean, std = pixels.mean((0, 1, 2)), pixels.std((0, 1, 2), correction=0)
    return mean.float().view(-1, 1, 1), std.clamp_min(1e-6).float().view(-1, 1, 1)


def reside(split: Split, normalisation: tuple[Tensor, Tensor], device: torch.device) -> Resident:
    """A split on the device."""
    pixels = torch.from_numpy(np.ascontiguousarray(split.images)).permute(0, 3, 1, 2)
    mean, std = normalisation
    labels = torch.from_numpy(split.labels).long()
    return Resident(pixels.to(device), labels.to(device), mean.to(device), std.to(device))


@dataclass(frozen=True)
class TaskData:
    """All images of a task: what the student learns and is scored on, and what the teacher knows."""

    target: Loaded
    source: Loaded
    normalisation: tuple[Tensor, Tensor]


def of_task(task: Task, datasets: dict[str, Source]) -> TaskData:
    """The task's images. Both networks see them normalised by the statistics of the teacher's training images."""
    target = images(datasets[task.target.dataset], task.target)
    source = images(datasets[task.teacher_images.dataset], task.teacher_images)
    if target.size != source.size:
        raise UserError(f"{task.name}: source images are {source.size}, target images {target.size} (channels, side)")
    return TaskData(target, source, statistics(source.splits["train"]))
