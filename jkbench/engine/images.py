"""Images as one uint8 array, on the device where they fit, normalised when read."""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jkbench import hashing
from jkbench.data import arrays
from jkbench.data import content as content_hash
from jkbench.data.arrays import Split, at_once, release
from jkbench.errors import UserError
from jkbench.plugins.describe import Plugin
from jkbench.plugins.loading import load
from jkbench.tasks.task import Images, Task

SMALL = 2**26
"""Bytes that the normalised images of a set may take to be kept."""


@dataclass(frozen=True)
class ImageSet:
    """Images and labels N, normalised by the channel statistics on the device when read.

    ``images`` are M×C×H×W uint8, channels last in memory: on the device, or the array that they are ``stored`` in
    (often a memory map), of which ``at`` (N positions on the host; None for all) selects them. What is read is the
    same; pages that were read of a map are released.
    """

    images: Tensor
    labels: Tensor
    mean: Tensor
    std: Tensor
    at: Tensor | None = None
    stored: NDArray[np.uint8] | None = None
    _mark: int = field(init=False, repr=False, default=0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_mark", self._checksum())

    def _checksum(self) -> int:
        """Of images in main memory and their labels; 0 of others. NumPy's writes raise no version of torch's."""
        if self.images.device.type != "cpu" or isinstance(self.stored, np.memmap):
            return 0
        pixels = np.ascontiguousarray(self.images.permute(0, 2, 3, 1).numpy())  # no copy: channels are last
        return zlib.crc32(self.labels.cpu().numpy().data, zlib.crc32(pixels.data))

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def device(self) -> torch.device:
        """The device that images are read to."""
        return self.mean.device

    def pixels(self, index: Tensor | slice) -> Tensor:
        """The raw images at these positions, B×C×H×W uint8, on the device."""
        if isinstance(index, Tensor) and self.images.device != index.device:
            index = index.to(self.images.device)
        if self.at is not None:
            index = self.at[index]
        found = self.images[index]
        if self.stored is None:
            return found.to(self.device)
        found = found.clone() if isinstance(index, slice) else found  # a slice is a view of the map
        release(self.stored)
        return found.to(self.device)

    def read(self, index: Tensor | slice) -> Tensor:
        """Normalised float32 images at these positions, B×C×H×W."""
        if isinstance(index, Tensor) and self._all is not None:
            return self._all[index]
        return self._normalised(self.pixels(index))

    @cached_property
    def _all(self) -> Tensor | None:
        """Every image as it is read, where that takes little memory: a step then copies its own."""
        fits = self.stored is None and 4 * self.images.numel() <= SMALL
        return self._normalised(self.images) if fits else None

    def _normalised(self, pixels: Tensor) -> Tensor:
        return (pixels.float() / 255 - self.mean) / self.std

    @property
    def written(self) -> bool:
        """Whether something wrote into images or labels in place since they were read."""
        return bool(self.images._version or self.labels._version) or self._mark != self._checksum()

    def parts(self, size: int | None = None) -> Iterator[bytes]:
        """All pixels, image by image and channel by channel, in parts: for a hash."""
        size = size or at_once(self.images.shape)
        for start in range(0, len(self), size):
            yield self.pixels(slice(start, start + size)).cpu().numpy().tobytes()


@dataclass(frozen=True)
class LoadedDataset:
    """A data set as plain arrays: canonical splits, class names, and the hash of its content."""

    splits: dict[str, Split]
    classes: tuple[str, ...]
    content: str

    @property
    def size(self) -> tuple[int, int]:
        """Channels and side of an image in pixels."""
        shape = self.splits["train"].shape
        return shape[3], shape[1]


WHOLE: dict[tuple[Path, str, int | None], LoadedDataset] = {}
"""The data sets that this process has loaded."""


def _whole(plugin: Plugin, size: int | None) -> LoadedDataset:
    """A whole data set, loaded once a process."""
    key = (plugin.path, plugin.code, size)
    if key not in WHOLE:
        WHOLE[key] = _load(plugin, size)
    return WHOLE[key]


def _load(plugin: Plugin, size: int | None) -> LoadedDataset:
    kind = load(plugin)
    if size is not None and "size" not in kind.model_fields:
        raise UserError(f"data set {plugin.name!r} has images of one size", "leave size out of the task")
    dataset = kind() if size is None else kind(size=size)
    try:
        splits = dict(dataset.load())
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"data set {plugin.name!r} cannot be loaded: {type(error).__name__}: {error}") from error
    arrays.check(plugin.name, splits, len(dataset.classes))
    arrays.check_every_class(plugin.name, splits, len(dataset.classes))
    splits = {name: arrays.canonical(split) for name, split in splits.items()}
    return LoadedDataset(splits, tuple(dataset.classes), content_hash.content(splits))


def forget() -> None:
    """Load data sets again: something wrote into their images."""
    WHOLE.clear()


def images(plugin: Plugin, wanted: Images) -> LoadedDataset:
    """The data set's canonical splits, of the classes that a task wants. `UserError` where it has no such class."""
    whole = _whole(plugin, wanted.size)
    if wanted.classes is None:
        return whole
    beyond = [label for label in wanted.classes if label >= len(whole.classes) or label < 0]
    if beyond:
        raise UserError(f"{plugin.name} has classes 0 to {len(whole.classes) - 1}; the task asks for {beyond}")
    splits = {name: split.of_classes(wanted.classes) for name, split in whole.splits.items()}
    return LoadedDataset(splits, tuple(whole.classes[label] for label in wanted.classes), whole.content)


def statistics(train: Split) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over the training images, C×1×1, of pixels in 0..1.

    Taken from the counts of the 256 values: exact, and without a copy of the images.
    """
    channels, each = train.shape[3], int(np.prod(train.shape[:3]))

    def take() -> list[list[int]]:
        counts = np.zeros((channels, 256), dtype=np.int64)
        for part in train.parts():
            for channel in range(channels):
                counts[channel] += np.bincount(part[..., channel].reshape(-1), minlength=256)
        found: list[list[int]] = counts.tolist()
        return found

    def sound(found: object) -> bool:
        rows = found if isinstance(found, list) else []
        return len(rows) == channels and all(
            isinstance(row, list) and len(row) == 256 and all(type(n) is int for n in row) and sum(row) == each
            for row in rows
        )

    counts = np.array(content_hash.of_checked("pixels", {"train": train}, take, sound), dtype=np.int64)
    values = np.arange(256) / 255
    mean = counts @ values / counts.sum(1)
    variance = (counts * (values - mean[:, None]) ** 2).sum(1) / counts.sum(1)
    std = np.maximum(np.sqrt(variance), 1e-6)
    return tuple(torch.from_numpy(s).float().view(-1, 1, 1) for s in (mean, std))  # type: ignore[return-value]


def on_device(split: Split, normalisation: tuple[Tensor, Tensor], device: torch.device) -> ImageSet:
    """A split on the device where it fits; else `streamed`, to the same numbers."""
    mean, std = (statistic.to(device) for statistic in normalisation)
    labels = torch.from_numpy(split.labels).long().to(device)
    fits = int(np.prod(split.shape)) <= room(device)
    if fits:
        images = split.images
        images = np.array(images) if images is split.stored else images
        return ImageSet(_channels_first(images).to(device), labels, mean, std)
    return streamed(split, normalisation, device)


def streamed(split: Split, normalisation: tuple[Tensor, Tensor], device: torch.device) -> ImageSet:
    """A split that stays where it is stored: `ImageSet.read` brings images to the device.

    A memory map is opened again, another array is copied: a write into it reaches no other set of images.
    """
    mean, std = (statistic.to(device) for statistic in normalisation)
    labels = torch.from_numpy(split.labels).long().to(device)
    stored = split.stored
    if isinstance(stored, np.memmap) and isinstance(stored.base, mmap.mmap) and stored.filename is not None:
        stored = np.memmap(stored.filename, stored.dtype, "c", stored.offset, stored.shape)
    else:
        stored = stored.copy()
    at = None if split.at is None else torch.from_numpy(split.at)
    return ImageSet(_channels_first(stored), labels, mean, std, at, stored)


def pixel_hash(split: Split, images: ImageSet) -> str:
    """A hash of all pixels and labels of a split, which are read as ``images``; computed once for a large split."""

    def take() -> str:
        return hashing.of_parts(chain(images.parts(), [images.labels.cpu().numpy().tobytes()]))

    if int(np.prod(split.shape)) <= content_hash.ALWAYS:
        return take()
    return str(content_hash.of_checked("subset", {"images": split}, take, content_hash.is_hash))


def _channels_first(images: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)


def room(device: torch.device) -> int:
    """Bytes that the images of one split may take: a quarter of a GPU's free memory, or 256 MiB of the host's."""
    return torch.cuda.mem_get_info(device)[0] // 4 if device.type == "cuda" else 2**28


@dataclass(frozen=True)
class TaskData:
    """All images of a task: what the student learns and is scored on, and what the teacher was trained on."""

    target: LoadedDataset
    source: LoadedDataset
    normalisation: tuple[Tensor, Tensor]
    outputs: int
    """How many logits the teacher has."""


def of_task(task: Task, datasets: dict[str, Plugin]) -> TaskData:
    """The task's images. Both networks see them normalised by the statistics of the teacher's training images, or as a
    pre-trained teacher's own configuration says."""
    target = images(datasets[task.target.dataset], task.target)
    source = images(datasets[task.teacher_images.dataset], task.teacher_images)
    if target.size != source.size:
        raise UserError(f"{task.name}: source images are {source.size}, target images {target.size} (channels, side)")
    if task.teacher is not None and task.teacher.pretrained is not None:
        from jkbench.models.pretrained import pretrained_facts  # timm takes a second

        about = pretrained_facts(task.teacher.architecture)
        if target.size[0] != len(about.mean):
            raise UserError(f"{task.name}: {task.teacher.architecture} takes colour images, not {task.target.dataset}")
        return TaskData(target, source, about.normalisation, about.classes)
    return TaskData(target, source, statistics(source.splits["train"]), len(source.classes))
