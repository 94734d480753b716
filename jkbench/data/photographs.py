"""Photographs of any size: resized and cropped once to a task's size, into one array of bytes a split.

A set ``NAME`` at one size lies in the folder ``NAME-SIZE`` (`jkbench.data.prepared`). It is made from the images that
somebody imported as ``NAME``, at their own and larger size, or else from the published files. No more than some dozens
of photographs are ever in memory: they are written to a nameless file as they come, and read from its map.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from jkbench.data import prepared
from jkbench.data.arrays import Split
from jkbench.errors import UserError
from jkbench.files import data_folder
from jkbench.seeds import numpy_stream

if TYPE_CHECKING:
    from PIL.Image import Image

Files = Sequence[tuple[Path, int]]
"""Image files, each with its label."""

THREADS = 4
BATCH = 64
"""Photographs that are decoded before the first of them is written."""
NAMED = 5
"""Unreadable files that an error names; the others are counted."""

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")


def photographs(
    name: str, classes: Sequence[str], size: int, files: Callable[[Path], Mapping[str, Files]], validation: int = 0
) -> dict[str, Split]:
    """A set's images at ``size``×``size`` pixels, made now where they are not yet.

    ``files`` fetches the published files into a folder and says which are in which split. A set without validation
    images of its own gives ``validation`` training images of each class (`jkbench.data.prepared.with_validation`).
    `UserError` where imported images are smaller than ``size``, or files are missing or cannot be read.
    """
    splits = _at_size(name, classes, size, files)
    if "validation" in splits:
        return splits
    if not validation:
        raise UserError(
            f"the images of {name} that were imported have no validation images, which the published set has",
            f"delete {prepared.path(name)}, then import an .npz with validation_images and validation_labels, too",
        )
    return prepared.with_validation(splits, validation)


def _at_size(
    name: str, classes: Sequence[str], size: int, files: Callable[[Path], Mapping[str, Files]]
) -> dict[str, Split]:
    own, target = imported_size(name), f"{name}-{size}"
    again = f"delete it, then jkbench data prepare {name} --size {size}"
    if own == size:
        return prepared.kept(name, classes, "", "delete it, then import the images again")
    if own is not None and own < size:
        raise UserError(
            f"the images of {name} were imported at {own}×{own} pixels, and {size}×{size} are asked for",
            f"a task with size = {own} or less fits; or delete {prepared.path(name)}, then import larger images, or "
            f"fetch them: jkbench data prepare {name} --size {size}",
        )
    origin = "" if own is None else str(prepared.about(name).get("content"))
    if not prepared.is_prepared(target):
        with prepared.alone(name):  # all sizes share one folder of downloads
            if not prepared.is_prepared(target):
                if own is None:
                    made = prepared.fetched(name, lambda folder: decoded(name, files(folder), size, folder))
                else:
                    made = resized(prepared.kept(name, classes, ""), size, data_folder())
                prepared.keep(target, classes, "", made, origin)
    if origin:
        check_origin(name, [size], origin)
    return prepared.kept(target, classes, "", again)


def imported_size(name: str) -> int | None:
    """The side in pixels of the images that were imported as ``name``; None where none were."""
    if not prepared.is_prepared(name):
        return None
    try:
        return int(np.load(prepared.path(name) / "train_images.npy", mmap_mode="r").shape[1])
    except (OSError, ValueError, EOFError, IndexError) as error:
        again = "delete it, then import the images again"
        raise UserError(f"the images in {prepared.path(name)} are damaged: {error}", again) from None


def sizes(name: str) -> list[int]:
    """The sides in pixels that are prepared, smallest first."""
    ends = (folder.name.removeprefix(f"{name}-") for folder in data_folder().glob(f"{name}-*"))
    return sorted(int(end) for end in ends if end.isdecimal() and prepared.is_prepared(f"{name}-{end}"))


def check_origin(name: str, at: Iterable[int], origin: str) -> None:
    """`UserError` where the images at one of these sizes were made from others than the imported ones (their hash)."""
    others = [f"{name}-{size}" for size in at if prepared.about(f"{name}-{size}").get("origin") != origin]
    if others:
        folders = ", ".join(str(prepared.path(other)) for other in others)
        raise UserError(
            f"{folders}: made from other images of {name} than those imported",
            "delete what is named here: it is then made again, from the imported images",
        )


def decoded(name: str, files: Mapping[str, Files], size: int, folder: Path) -> dict[str, Split]:
    """Published files as splits, over maps of nameless files in ``folder``.

    `UserError` counts all files that are missing or cannot be read, and names the first of them.
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
            reason = "this is no image"
        except Exception as error:  # whatever a damaged file makes of a decoder; all of it is told
            reason = f"{type(error).__name__}: {error}"
        return f"{os.path.relpath(file, folder)} ({reason})"

    def readable(listed: Files) -> Iterator[NDArray[np.uint8]]:
        for found in _each(read, [file for file, _ in listed]):
            if isinstance(found, str):
                unreadable.append(found)
            else:
                yield found

    splits = {}
    again = f"nothing was prepared. Replace them, or delete {folder}, then jkbench data prepare {name} --size {size}"
    for part, listed in files.items():
        if not listed:
            raise UserError(f"{folder} holds no {part} images of {name}", again)
        images = _stored(readable(listed), folder)
        splits[part] = Split(images, np.array([label for _, label in listed], dtype=np.int64))
    if unreadable:
        count = sum(map(len, files.values()))
        more = len(unreadable) - NAMED
        told = ", ".join(unreadable[:NAMED]) + (f", and {more:,} more" if more > 0 else "")
        raise UserError(f"{len(unreadable):,} of {count:,} images of {name} cannot be read: {told}; in {folder}", again)
    return splits


def resized(splits: Mapping[str, Split], size: int, folder: Path) -> dict[str, Split]:
    """The same images at a smaller size, over maps of nameless files in ``folder``."""
    from PIL import Image

    def made(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return cropped(Image.fromarray(image[..., 0] if image.shape[2] == 1 else image), size)

    def each(split: Split) -> Iterator[NDArray[np.uint8]]:
        for part in split.parts():
            yield from _each(made, part)

    return {part: Split(_stored(each(split), folder), split.labels) for part, split in splits.items()}


def cropped(image: Image, size: int) -> NDArray[np.uint8]:
    """The middle of an image, size×size×C: resized until its short side is ``size`` (bicubic, antialiased).

    The published evaluation of photographs: torchvision's ``Resize`` and ``CenterCrop``, without a margin.
    """
    from PIL import Image

    short = min(image.size)
    width, height = (size * side // short for side in image.size)
    left, top = round((width - size) / 2), round((height - size) / 2)
    whole = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(whole.crop((left, top, left + size, top + size))).reshape(size, size, -1)


def _each(make: Callable[[_Item], _Made], items: Sequence[_Item] | NDArray[np.uint8]) -> Iterator[_Made]:
    """``make`` of every item, in order, by some threads; `BATCH` at a time, so that no heap of results grows."""
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        for start in range(0, len(items), BATCH):
            yield from pool.map(make, items[start : start + BATCH])


def _stored(images: Iterable[NDArray[np.uint8]], folder: Path) -> NDArray[np.uint8]:
    """Images N×H×W×C as the map of a file without a name, which goes with the map.

    Written as a file, not through the map: a full disk is then an error.
    """
    count, shape = 0, (1, 1, 1)
    with tempfile.TemporaryFile(dir=folder) as stream:
        for count, image in enumerate(images, 1):  # noqa: B007
            stream.write(image.tobytes())
            shape = image.shape
        stream.flush()
        return np.memmap(stream, np.uint8, "c", shape=(count, *shape)) if count else np.empty((0, *shape), np.uint8)


def drawn(files: Files, **counts: int) -> dict[str, Files]:
    """Splits for files that have none: so many of each class for each part; the last part takes what there is of it.

    Drawn from the stream ``split`` over the files' names, so that all sizes of a set have the same splits.
    `UserError` where a class has too few.
    """
    found: dict[str, list[tuple[Path, int]]] = {part: [] for part in counts}
    for label in sorted({label for _, label in files}):
        members = sorted(file for file, own in files if own == label)
        needed = sum(list(counts.values())[:-1])
        if len(members) <= needed:
            told = ", ".join(f"{count} {part}" for part, count in counts.items())
            raise UserError(f"class {label} has {len(members)} images, too few for {told}")
        order, start = numpy_stream("split", label).permutation(len(members)), 0
        for part, count in counts.items():
            found[part] += [(members[i], label) for i in sorted(order[start : start + count])]
            start += count
    return dict(found)
