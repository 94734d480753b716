"""Labelled images as arrays, in an order that depends on their content alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jkbench import fingerprint
from jkbench.errors import UserError
from jkbench.streams import numpy_stream

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """Images uint8 N×H×W×C and labels N (integers)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> Split:
        """The images at these positions, or where a mask is true."""
        return Split(self.images[index], self.labels[index])

    def of_classes(self, classes: Sequence[int]) -> Split:
        """The images of these classes, relabelled 0, 1, … in the order given."""
        place = np.full(int(max(self.labels.max(initial=0), *classes)) + 1, -1)
        place[list(classes)] = np.arange(len(classes))
        new = place[self.labels]
        return Split(self.images[new >= 0], new[new >= 0])


def check(name: str, splits: Mapping[str, Split], classes: int) -> None:
    """Refuse arrays that are not what a data set promises: `UserError` names split and array."""
    for missing in (split for split in SPLITS if split not in splits):
        raise UserError(f"data set {name!r} has no {missing!r} split", f"load() returns all of {', '.join(SPLITS)}")
    for key, split in splits.items():
        where = f"data set {name!r}, split {key!r}"
        images, labels = split.images, split.labels
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
            raise UserError(f"{where}: images are {images.dtype} {images.shape}", "uint8 N×H×W×C with C 1 or 3")
        if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
            raise UserError(f"{where}: labels are {labels.dtype} {labels.shape} for {len(images)} images", "integers N")
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            raise UserError(f"{where}: labels lie in {labels.min()}..{labels.max()}", f"0..{classes - 1} are classes")


def canonical(split: Split) -> Split:
    """The same images by label, then by a hash of their pixels: independent of how they were stored."""
    keys = [hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest() for image in split.images]
    order = sorted(range(len(split)), key=lambda i: (int(split.labels[i]), keys[i]))
    return split.take(np.array(order, dtype=np.int64))


def content(splits: Mapping[str, Split]) -> str:
    """A hash of all images and labels of canonical splits."""
    parts = []
    for name in sorted(splits):
        split = splits[name]
        parts += [f"{name}{split.images.shape}".encode(), split.images.tobytes(), split.labels.astype("<i8").tobytes()]
    return fingerprint.of_bytes(*parts)


def carve(images: NDArray[np.uint8], labels: NDArray[np.int64], validation: int, test: int) -> dict[str, Split]:
    """Splits for a set that has none: per class ``validation`` and ``test`` images, the rest for training.

    Drawn from the stream ``split`` over the canonical order, so that the stored order does not matter.
    """
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
