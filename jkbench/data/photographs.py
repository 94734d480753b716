"""Photographs of any size, resized and cropped once to a task's size, into one array of bytes per split.

A set ``NAME`` at one size is the folder ``NAME-SIZE`` (`jkbench.data.prepared`). It is made from the images that a user
imported as ``NAME``, at their own and larger size, or else from the published files. Only some dozens of photographs
are in memory at a time: they are written to an unnamed file as they are decoded, and read from its map.

Ours: PIL decodes and resizes; torchvision's transforms would do the same and need torch. joblib's generators keep
every result that is not yet read.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jkbench.data import arrays, prepared
from jkbench.data.arrays import Split
from jkbench.errors import UserError
from jkbench.files import data_folder, writing

if TYPE_CHECKING:
    from PIL.Image import Image

Files = Sequence[tuple[Path, int]]
"""Image files, each with its label."""

THREADS = 4
BATCH = 64
"""Photographs to decode before the first of them is written."""
NAMED = 5
"""Unreadable files that an error names; it counts the others."""


def photographs(
    name: str, classes: Sequence[str], size: int, files: Callable[[Path], Mapping[str, Files]], validation: int = 0
) -> dict[str, Split]:
    """A set's images at ``size``×``size`` pixels, prepared now if they are not yet.

    ``files`` downloads the published files into a folder and says which are in which split. A set without validation
    images uses ``validation`` training images of each class (`jkbench.data.prepared.with_validation`). `UserError` if
    imported images are smaller than ``size``, or files are missing or unreadable.
    """
    splits = _at_size(name, classes, size, files)
    if "validation" in splits:
        return splits
    if not validation:
        raise UserError(
            f"the imported {name} has no validation images, but the published set has some",
            f"delete {prepared.path(name)}, then import an .npz that also has validation_images and validation_labels",
        )
    return prepared.with_validation(splits, validation)


def _at_size(
    name: str, classes: Sequence[str], size: int, files: Callable[[Path], Mapping[str, Files]]
) -> dict[str, Split]:
    own, target = imported_size(name), f"{name}-{size}"
    again = f"delete it, then jkbench data prepare {name} --size {size}"
    if own == size:
        return prepared.load(name, classes, "", "delete it, then import the images again")
    if own is not None and own < size:
        raise UserError(
            f"the images of {name} were imported at {own}×{own} pixels, but the task asks for {size}×{size}",
            f"use a task with size = {own} or less; or delete {prepared.path(name)}, then import larger images, or "
            f"download them: jkbench data prepare {name} --size {size}",
        )
    origin = "" if own is None else str(prepared.about(name).get("content"))
    if not prepared.is_prepared(target):
        with prepared.preparing(name):  # all sizes share one folder of downloads
            if not prepared.is_prepared(target):
                if own is None:
                    made = prepared.fetched(name, lambda folder: decoded(name, files(folder), size, folder))
                else:
                    made = resized(prepared.load(name, classes, ""), size, data_folder())
                prepared.save(target, classes, "", made, origin)
    if origin:
        check_origin(name, [size], origin)
    return prepared.load(target, classes, "", again)


def imported_size(name: str) -> int | None:
    """The side in pixels of the images that were imported as ``name``; None if none were."""
    if not prepared.is_prepared(name):
        return None
    try:
        return int(np.load(prepared.path(name) / "train_images.npy", mmap_mode="r").shape[1])
    except (OSError, ValueError, EOFError, IndexError) as error:
        raise prepared.damaged(name, error, "delete it, then import the images again") from None


def sizes(name: str) -> list[int]:
    """The prepared sides in pixels, smallest first."""
    ends = (folder.name.removeprefix(f"{name}-") for folder in data_folder().glob(f"{name}-*"))
    return sorted(int(end) for end in ends if end.isdecimal() and prepared.is_prepared(f"{name}-{end}"))


def check_origin(name: str, at: Iterable[int], origin: str) -> None:
    """`UserError` if images at one of these sizes were not made from the imported ones, whose hash is ``origin``."""
    others = [f"{name}-{size}" for size in at if prepared.about(f"{name}-{size}").get("origin") != origin]
    if others:
        folders = ", ".join(str(prepared.path(other)) for other in others)
        raise UserError(
            f"{folders}: not made from the imported images of {name}",
            "delete these folders: they are then made again from the imported images",
        )


def decoded(name: str, files: Mapping[str, Files], size: int, folder: Path) -> dict[str, Split]:
    """Published files as splits, over maps of unnamed files in ``folder``.

    `UserError` counts all missing or unreadable files, and names the first of them.
    """
    unreadable: list[str] = []

    def read(file: Path) -> NDArray[np.uint8] | str:
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(file) as image:
                return cropped(image.convert("RGB"), size)
        except FileNotFoundError:
            reason = "there is no such file"
        except UnidentifiedImageError:
            reason = "not an image"
        except Exception as error:  # decoders raise anything on damaged files
            reason = f"{type(error).__name__}: {error}"
        return f"{os.path.relpath(file, folder)} ({reason})"

    def readable(listed: Files) -> Iterator[NDArray[np.uint8]]:
        for found in _each(read, [file for file, _ in listed]):
            if isinstance(found, str):
                unreadable.append(found)
            else:
                yield found

    images = {}
    again = f"replace them, or delete {folder}, then jkbench data prepare {name} --size {size}"
    for part, listed in files.items():
        if not listed:
            raise UserError(f"{folder} holds no {part} images of {name}", again)
        images[part] = _stored(readable(listed), folder)
    if unreadable:
        count = sum(map(len, files.values()))
        more = len(unreadable) - NAMED
        first = ", ".join(unreadable[:NAMED]) + (f", and {more:,} more" if more > 0 else "")
        raise UserError(f"{len(unreadable):,} of {count:,} images of {name} in {folder} cannot be read: {first}", again)
    return {part: Split(images[part], np.array([label for _, label in files[part]], np.int64)) for part in images}


def resized(splits: Mapping[str, Split], size: int, folder: Path) -> dict[str, Split]:
    """The same images at a smaller size, over maps of unnamed files in ``folder``."""
    from PIL import Image

    def made(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return cropped(Image.fromarray(image[..., 0] if image.shape[2] == 1 else image), size)

    def each(split: Split) -> Iterator[NDArray[np.uint8]]:
        for part in split.parts():
            yield from _each(made, part)

    with writing(folder, prepared.CHANGE):
        return {part: Split(_stored(each(split), folder), split.labels) for part, split in splits.items()}


def cropped(image: Image, size: int) -> NDArray[np.uint8]:
    """The centre of an image, size×size×C, after resizing its short side to ``size`` (bicubic, antialiased).

    This is the usual evaluation of photographs: torchvision's ``Resize`` and ``CenterCrop``, without a margin.
    """
    from PIL import Image

    short = min(image.size)
    width, height = (size * side // short for side in image.size)
    left, top = round((width - size) / 2), round((height - size) / 2)
    whole = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(whole.crop((left, top, left + size, top + size))).reshape(size, size, -1)


def _each(make: Callable[[Any], Any], items: Sequence[Any] | NDArray[np.uint8]) -> Iterator[Any]:
    """``make`` of every item, in order, in threads; `BATCH` at a time, so that results do not pile up."""
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        for start in range(0, len(items), BATCH):
            yield from pool.map(make, items[start : start + BATCH])


def _stored(images: Iterable[NDArray[np.uint8]], folder: Path) -> NDArray[np.uint8]:
    """Images N×H×W×C as the map of an unnamed file, which disappears with the map.

    Written as a file, not through the map, so that a full disk raises an error.
    """
    count, shape = 0, (1, 1, 1)
    with tempfile.TemporaryFile(dir=folder) as stream:
        for count, image in enumerate(images, 1):  # noqa: B007
            stream.write(image.tobytes())
            shape = image.shape
        stream.flush()
        return np.memmap(stream, np.uint8, "c", shape=(count, *shape)) if count else np.empty((0, *shape), np.uint8)


def drawn(files: Files, **counts: int) -> dict[str, Files]:
    """Splits for files that have none: this many of each class for each part; the last part may get fewer.

    Drawn over the files' names from the stream ``split``, so that all sizes of a set have the same splits. `UserError`
    if a class has too few.
    """
    ordered = sorted(files, key=lambda file: (file[1], file[0]))
    labels = np.array([label for _, label in ordered], dtype=np.int64)
    ends = np.cumsum(list(counts.values()))
    found: dict[str, list[tuple[Path, int]]] = {part: [] for part in counts}
    wanted = ", ".join(f"{count} {part}" for part, count in counts.items())
    needed = 1 if len(ends) < 2 else int(ends[-2]) + 1
    for _, order in arrays.shuffled_classes(labels, needed, wanted, "split"):
        for part, chosen in zip(counts, np.split(order, ends), strict=False):
            found[part] += [ordered[i] for i in np.sort(chosen)]
    return dict(found)
