"""Labelled images as arrays, in an order that depends on their content alone."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jkbench import hashing
from jkbench.errors import UserError
from jkbench.seeds import numpy_stream

SPLITS = ("train", "validation", "test")
PART = 2**23
"""Bytes that are read at once where all of a split's images are."""


@dataclass(frozen=True)
class Split:
    """Images uint8 N×H×W×C and labels N (integers).

    Taking some of a split's images copies none: ``stored`` stays the whole array (a memory map, where a data set is
    prepared), and ``at`` says which of it are meant.
    """

    stored: NDArray[np.uint8]
    labels: NDArray[np.int64]
    at: NDArray[np.int64] | None = None
    ordered: bool = False
    """Whether these are known to be in canonical order."""
    checked: str = ""
    """Names the content of ``stored`` where all of it has been compared with its hash; else empty.

    What follows from the content is then kept under this name: who puts other images into ``stored`` empties it.
    """

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def images(self) -> NDArray[np.uint8]:
        """The images N×H×W×C: the stored array itself where all of it is meant, else a copy of those that are."""
        if self.at is None:
            return self.stored
        found = self.stored[self.at]
        release(self.stored)
        return found

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of `images`, which are not read for it."""
        return self.stored.shape if self.at is None else (len(self.at), *self.stored.shape[1:])

    def parts(self, size: int | None = None) -> Iterator[NDArray[np.uint8]]:
        """The images, ``size`` at a time (`at_once` unless given): no more of them are in memory at once."""
        size = size or at_once(self.shape)
        for start in range(0, self.shape[0], size):
            stop = start + size
            yield self.stored[start:stop] if self.at is None else self.stored[self.at[start:stop]]
            release(self.stored)

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> Split:
        """The images at these positions, or where a mask is true."""
        at = np.arange(len(self))[index]
        ordered = self.ordered and bool((np.diff(at) > 0).all())
        return replace(self, labels=self.labels[at], at=at if self.at is None else self.at[at], ordered=ordered)

    def of_classes(self, classes: Sequence[int]) -> Split:
        """The images of these classes, relabelled 0, 1, … in the order given."""
        place = np.full(int(max(self.labels.max(initial=0), *classes)) + 1, -1)
        place[list(classes)] = np.arange(len(classes))
        new = place[self.labels]
        return replace(self.take(new >= 0), labels=new[new >= 0], ordered=False)


def check_every_class(name: str, splits: Mapping[str, Split], classes: int) -> None:
    """Refuse training images that lack a class: a student would be scored on what it was never shown."""
    empty = sorted(set(range(classes)) - set(np.unique(splits["train"].labels).tolist()))
    if empty:
        told = ", ".join(map(str, empty[:5])) + (", …" if len(empty) > 5 else "")
        raise UserError(
            f"data set {name!r}, split 'train': no images of {len(empty)} of {classes} classes: {told}",
            "every class has some: are all files there?",
        )


def check_one_size(name: str, splits: Mapping[str, Split]) -> None:
    """Refuse splits whose images differ in size: a network would score both without a word."""
    sizes = {key: split.shape[1:] for key, split in splits.items()}
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{key} {'×'.join(map(str, size))}" for key, size in sizes.items())
        raise UserError(f"data set {name!r}: images of several sizes: {told}", "one size for all splits")


def at_once(shape: Sequence[int]) -> int:
    """How many images N×… of a byte a number are read at once where all of them are."""
    return max(1, PART // int(np.prod(shape[1:])))


def release(stored: NDArray[Any]) -> None:
    """What has been read of a memory map counts as this process's memory until it is let go of."""
    held = getattr(stored, "_mmap", None)
    if held is not None and hasattr(mmap, "MADV_DONTNEED"):
        held.madvise(mmap.MADV_DONTNEED)


def check(name: str, splits: Mapping[str, Split], classes: int) -> None:
    """Refuse splits that are not what a data set promises: `UserError` names split and array."""
    for missing in (split for split in SPLITS if split not in splits):
        raise UserError(f"data set {name!r} has no {missing!r} split", f"load() returns all of {', '.join(SPLITS)}")
    check_arrays(name, splits, classes)


def check_arrays(name: str, splits: Mapping[str, Split], classes: int) -> None:
    """Refuse arrays that are no square images with a label each: `UserError` names split and array."""
    for key, split in splits.items():
        where = f"data set {name!r}, split {key!r}"
        pixels, shape, labels = split.stored.dtype, split.shape, split.labels
        if pixels != np.uint8 or len(shape) != 4 or shape[3] not in (1, 3):
            raise UserError(f"{where}: images are {pixels} {shape}", "uint8 N×H×W×C with C 1 or 3")
        if shape[1] != shape[2]:
            raise UserError(f"{where}: images are {shape[1]}×{shape[2]}", "square ones: crop or resize them")
        if labels.shape != shape[:1] or labels.dtype.kind not in "iu":
            raise UserError(f"{where}: labels are {labels.dtype} {labels.shape} for {shape[0]} images", "integers N")
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            raise UserError(f"{where}: labels lie in {labels.min()}..{labels.max()}", f"0..{classes - 1} are classes")
    check_one_size(name, splits)


def canonical(split: Split) -> Split:
    """The same images by label, then by a hash of their pixels: independent of how they were stored."""
    if split.ordered:
        return split
    keys = [hashlib.sha256(image.tobytes()).digest() for part in split.parts() for image in part]
    order = sorted(range(len(split)), key=lambda i: (int(split.labels[i]), keys[i]))
    return replace(split.take(np.array(order, dtype=np.int64)), ordered=True)


def content(splits: Mapping[str, Split]) -> str:
    """A hash of all images and labels of canonical splits."""

    def parts() -> Iterator[bytes | memoryview]:
        for name in sorted(splits):
            split = splits[name]
            yield f"{name}{split.shape}".encode()
            yield from (np.ascontiguousarray(part).data for part in split.parts())
            yield split.labels.astype("<i8").tobytes()

    return hashing.of_parts(parts())


def carve(images: NDArray[np.uint8], labels: NDArray[np.int64], validation: int, test: int) -> dict[str, Split]:
    """Splits for a set that has none: per class ``validation`` and ``test`` images, the rest for training.

    Drawn from the stream ``split`` over the canonical order, so that the stored order does not matter.
    """
    if len(images) != len(labels):
        raise UserError(f"carve: {len(images)} images and {len(labels)} labels", "one label an image")
    whole = canonical(Split(images, labels.astype(np.int64)))
    parts: dict[str, list[NDArray[np.int64]]] = {name: [] for name in SPLITS}
    for label in np.unique(whole.labels):
        members = np.flatnonzero(whole.labels == label)
        if len(members) <= validation + test:
            raise UserError(f"class {label} has {len(members)} images, too few for {validation} + {test} held out")
        drawn = numpy_stream("split", int(label)).permutation(members)
        parts["validation"].append(drawn[:validation])
        parts["test"].append(drawn[validation : validation + test])
        parts["train"].append(drawn[validation + test :])
    return {name: whole.take(np.sort(np.concatenate(indices))) for name, indices in parts.items()}


def held_out(labels: NDArray[np.int64], per_class: int) -> NDArray[np.bool_]:
    """Which of these canonical images are held out: ``per_class`` of each class, from the stream ``split``."""
    held = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) <= per_class:
            raise UserError(f"class {label} has {len(members)} images, too few to hold {per_class} out")
        held[numpy_stream("split", int(label)).permutation(members)[:per_class]] = True
    return held


def subset(labels: NDArray[np.int64], shots: int | str, seed: int) -> NDArray[np.int64]:
    """Positions of a class-balanced few-shot subset of canonical images; ``"full"`` is all of them.

    Nested: at a seed the images of fewer shots are among those of more. Raises `UserError` where a class has too few.
    """
    if shots == "full":
        return np.arange(len(labels))
    chosen = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) < int(shots):
            raise UserError(
                f"{shots} images per class are asked for; class {label} has {len(members)} training images",
                'ask for fewer with --shots, or for "full"',
            )
        chosen.append(numpy_stream("subset", seed, int(label)).permutation(members)[: int(shots)])
    return np.sort(np.concatenate(chosen))
