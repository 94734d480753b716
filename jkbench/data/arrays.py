"""Labelled images as arrays, in an order that depends on their content alone.

Ours: no library orders images by content, splits them the same way on every machine and nests its few-shot subsets.
"""

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
"""Bytes to read at once when all images of a split are read."""


@dataclass(frozen=True)
class Split:
    """Images uint8 N×H×W×C and labels N (integers); `UserError` if their lengths differ.

    Selecting images copies nothing: ``stored`` stays the whole array (a memory map, if the data set is prepared), and
    ``at`` holds the selected positions.
    """

    stored: NDArray[np.uint8]
    labels: NDArray[np.int64]
    at: NDArray[np.int64] | None = None
    ordered: bool = False
    """Whether the images are known to be in canonical order."""
    checked: str = ""
    """A name for the content of ``stored``, if all of it was compared with its hash; else empty.

    Values computed from the content are cached under this name: clear it when you replace ``stored``.
    """

    def __post_init__(self) -> None:
        images, labels = np.shape(self.stored if self.at is None else self.at), np.shape(self.labels)
        if images and labels and images[0] != labels[0]:
            raise UserError(f"a split has {labels[0]} labels for {images[0]} images", "give each image one label")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def images(self) -> NDArray[np.uint8]:
        """The images N×H×W×C: the stored array itself if all of it is selected, else a copy."""
        if self.at is None:
            return self.stored
        found = self.stored[self.at]
        release(self.stored)
        return found

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of `images`, without reading them."""
        return self.stored.shape if self.at is None else (len(self.at), *self.stored.shape[1:])

    def parts(self, size: int | None = None) -> Iterator[NDArray[np.uint8]]:
        """The images in parts of ``size`` (default `at_once`), with one part in memory at a time."""
        size = size or at_once(self.shape)
        for start in range(0, self.shape[0], size):
            part = slice(start, start + size)
            yield self.stored[part if self.at is None else self.at[part]]
            release(self.stored)

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> Split:
        """The images at these positions, or where a mask is true."""
        at = np.arange(len(self))[index]
        ordered = self.ordered and bool((np.diff(at) > 0).all())
        return replace(self, labels=self.labels[at], at=at if self.at is None else self.at[at], ordered=ordered)

    def of_classes(self, classes: Sequence[int]) -> Split:
        """The images of these classes, relabelled 0, 1, … in the order given."""
        new_label = np.full(int(max(self.labels.max(initial=0), *classes)) + 1, -1)
        new_label[list(classes)] = np.arange(len(classes))
        new = new_label[self.labels]
        return replace(self.take(new >= 0), labels=new[new >= 0], ordered=False)


def at_once(shape: Sequence[int]) -> int:
    """How many images N×… (uint8) to read at once when all of them are read."""
    return max(1, PART // int(np.prod(shape[1:])))


def release(stored: NDArray[Any]) -> None:
    """Release the pages of a memory map that were read: until then they count as memory of this process."""
    held = getattr(stored, "_mmap", None)
    if held is not None and hasattr(mmap, "MADV_DONTNEED"):
        held.madvise(mmap.MADV_DONTNEED)


def check(name: str, splits: Mapping[str, Split], classes: int) -> None:
    """Refuse a data set that lacks a split or has wrong arrays: `UserError` names the split and the array."""
    for missing in (split for split in SPLITS if split not in splits):
        raise UserError(f"data set {name!r} has no {missing!r} split", f"load() must return {', '.join(SPLITS)}")
    check_arrays(name, splits, classes)


def check_arrays(name: str, splits: Mapping[str, Split], classes: int) -> None:
    """Refuse arrays that are not square images of one size with a label each: `UserError` names split and array."""
    for key, split in splits.items():
        where = f"data set {name!r}, split {key!r}"
        pixels, shape, labels = split.stored.dtype, split.shape, split.labels
        if pixels != np.uint8 or len(shape) != 4 or shape[3] not in (1, 3):
            raise UserError(f"{where}: images are {pixels} {shape}", "expected: uint8 N×H×W×C with C = 1 or 3")
        if shape[1] != shape[2]:
            raise UserError(f"{where}: images are {shape[1]}×{shape[2]}", "crop or resize them to squares")
        if labels.shape != shape[:1] or labels.dtype.kind not in "iu":
            raise UserError(f"{where}: labels are {labels.dtype} {labels.shape}", f"expected: {shape[0]} integers")
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            raise UserError(f"{where}: labels are {labels.min()} to {labels.max()}", f"expected: 0 to {classes - 1}")
    shapes = {key: split.shape[1:] for key, split in splits.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{key} {'×'.join(map(str, shape))}" for key, shape in shapes.items())
        raise UserError(f"data set {name!r}: images of several sizes: {listed}", "use one size for all splits")


def check_every_class(name: str, splits: Mapping[str, Split], classes: int) -> None:
    """Refuse training images that lack a class: a student would be tested on classes that it has never seen."""
    empty = sorted(set(range(classes)) - set(np.unique(splits["train"].labels).tolist()))
    if empty:
        listed = ", ".join(map(str, empty[:5])) + (", …" if len(empty) > 5 else "")
        raise UserError(
            f"data set {name!r}, split 'train': no images of {len(empty)} of {classes} classes: {listed}",
            "every class needs training images: are files missing?",
        )


def canonical(split: Split) -> Split:
    """The same images sorted by label, then by a hash of their pixels: independent of the stored order."""
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


def shuffled_classes(
    labels: NDArray[np.int64], needed: int, wanted: str, *stream: object
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each class with the positions of its images, shuffled by the random stream of these names and the class.

    `UserError` if a class has fewer than ``needed`` images; ``wanted`` says in words how many are asked for.
    """
    for label in np.unique(labels).tolist():
        members = np.flatnonzero(labels == label)
        if len(members) < needed:
            raise UserError(
                f"{wanted} images per class are asked for; class {label} has only {len(members)}",
                "use fewer images per class",
            )
        yield label, numpy_stream(*stream, label).permutation(members)


def carve(images: NDArray[np.uint8], labels: NDArray[np.int64], validation: int, test: int) -> dict[str, Split]:
    """Splits for a set that has none: ``validation`` and ``test`` images of each class, the rest for training.

    The stored order does not matter: images are drawn over the canonical order, from the stream ``split``.
    """
    whole = canonical(Split(images, labels.astype(np.int64)))
    wanted = f"{validation} validation, {test} test and some training"
    drawn = [order for _, order in shuffled_classes(whole.labels, validation + test + 1, wanted, "split")]
    parts = zip(*(np.split(order, [validation, validation + test]) for order in drawn), strict=True)
    held = dict(zip(("validation", "test", "train"), parts, strict=True))
    return {name: whole.take(np.sort(np.concatenate(held[name]))) for name in SPLITS}


def held_out(labels: NDArray[np.int64], per_class: int) -> NDArray[np.bool_]:
    """A mask of canonical images: ``per_class`` held out of each class, from the stream ``split``."""
    held = np.zeros(len(labels), dtype=bool)
    for _, order in shuffled_classes(labels, per_class + 1, f"{per_class} validation and some training", "split"):
        held[order[:per_class]] = True
    return held


def subset(labels: NDArray[np.int64], shots: int | str, seed: int) -> NDArray[np.int64]:
    """Positions of a class-balanced few-shot subset of canonical images; ``"full"`` is all of them.

    Nested: with one seed, fewer shots are a subset of more. `UserError` if a class has too few images.
    """
    if shots == "full":
        return np.arange(len(labels))
    count = int(shots)
    drawn = shuffled_classes(labels, count, str(count), "subset", seed)
    return np.sort(np.concatenate([order[:count] for _, order in drawn]))
