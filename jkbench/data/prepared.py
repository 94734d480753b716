"""Data sets that are fetched once: prepared into one array file each, under ``JKBENCH_DATA``.

A file ``NAME.npz`` holds ``train_images`` and ``test_images`` (uint8 N×H×W×C), ``train_labels`` and ``test_labels``,
and ``classes``. It is written whole or not at all, and its checksums are looked at whenever it is read. The same
layout is what `jkbench data import` takes, where nothing can be downloaded.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jkbench import places
from jkbench.data import arrays
from jkbench.data.arrays import Split
from jkbench.errors import UserError
from jkbench.files import write_atomically

PARTS = ("train", "test")


def path(name: str) -> Path:
    """Where a data set's images are, once they are prepared."""
    return places.data() / f"{name}.npz"


def prepared(
    name: str, classes: Sequence[str], content: str, fetch: Callable[[Path], Mapping[str, Split]]
) -> dict[str, Split]:
    """Training and test images of a published set, prepared now where they are not yet.

    ``fetch`` brings both splits, given a folder for its own files; ``content`` is the hash of the published images
    (`jkbench.data.arrays.content` of the canonical splits), so that no other images are ever taken for them.
    `UserError` says which file is wrong, and what to do.
    """
    if not path(name).is_file():
        keep(name, classes, content, fetched(name, fetch))
    splits = read(name, path(name), classes)
    if content and content_of(splits) != content:
        raise UserError(
            f"{path(name)} does not hold the published images of {name}", f"delete it, then jkbench data prepare {name}"
        )
    return splits


def fetched(name: str, fetch: Callable[[Path], Mapping[str, Split]]) -> Mapping[str, Split]:
    """What ``fetch`` brings; `UserError` where it fails."""
    folder = places.data() / "downloads" / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"the data folder {folder} cannot be written: {error.strerror}", "set JKBENCH_DATA to another folder"
        ) from None
    try:
        return fetch(folder)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"the images of {name} cannot be fetched into {folder}: {type(error).__name__}: {error}",
            f"empty that folder and try again; without a network: jkbench data import {name} FILE.npz",
        ) from error


def read(name: str, file: Path, classes: Sequence[str]) -> dict[str, Split]:
    """The splits of an array file. `UserError` where it is damaged, or its arrays are not those of ``name``."""
    hint = f"an .npz with {', '.join(f'{part}_images, {part}_labels' for part in PARTS)} and classes"
    if file == path(name):
        hint = f"delete it, then jkbench data prepare {name}"
    try:
        with np.load(file, allow_pickle=False) as opened:
            held = {key: np.asarray(opened[key]) for key in opened.files}
    except FileNotFoundError:
        raise UserError(f"there is no file {file}") from None
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zlib.error, zipfile.BadZipFile) as error:
        raise UserError(f"{file} is damaged or no .npz: {error}", hint) from None
    missing = [f"{part}_{kind}" for part in PARTS for kind in ("images", "labels") if f"{part}_{kind}" not in held]
    if missing:
        raise UserError(f"{file} has no {', '.join(missing)}", hint)
    if "classes" in held and tuple(map(str, held["classes"].reshape(-1))) != tuple(classes):
        raise UserError(
            f"{file} has other classes than {name}, or in another order", f"labels 0, 1, …: {_some(classes)}"
        )
    splits = {part: Split(held[f"{part}_images"], _integers(held[f"{part}_labels"])) for part in PARTS}
    try:
        arrays.check(name, {**splits, "validation": splits["train"]}, len(classes))
    except UserError as error:
        raise UserError(f"{file}: {error.message}", error.hint) from None
    return splits


def _integers(labels: NDArray[np.generic]) -> NDArray[np.int64]:
    return labels.astype(np.int64) if labels.dtype.kind in "iu" else labels  # type: ignore[return-value]


def _some(classes: Sequence[str]) -> str:
    return ", ".join(classes[:4]) + (", …" if len(classes) > 4 else "")


def content_of(splits: Mapping[str, Split]) -> str:
    """The hash of training and test images, whatever order they are stored in."""
    return arrays.content({part: arrays.canonical(splits[part]) for part in PARTS})


def keep(name: str, classes: Sequence[str], content: str, splits: Mapping[str, Split]) -> Path:
    """Write a data set's array file. `UserError` where the images are not the published ones, or nothing can be
    written."""
    found = content_of(splits)
    if content and found != content:
        counts = ", ".join(f"{len(splits[part])} {part}" for part in PARTS)
        raise UserError(
            f"these are not the published images of {name}: their hash is {found}, not {content} ({counts} images)",
            "images are compared pixel by pixel, in any order: were they stored with loss, or resized?",
        )
    target = path(name)
    held = {f"{part}_{kind}": getattr(splits[part], kind) for part in PARTS for kind in ("images", "labels")}
    content_bytes = io.BytesIO()
    np.savez(content_bytes, classes=np.array(classes), **held)
    try:
        write_atomically(target, content_bytes.getvalue())
    except UserError as error:
        raise UserError(error.message, "make room or permission, or set JKBENCH_DATA to another folder") from None
    return target


def with_validation(splits: Mapping[str, Split], per_class: int) -> dict[str, Split]:
    """Validation images for a published set that has none: ``per_class`` training images of each class.

    Trials that are scored on test images learn from all training images (``train``, as published), those that are
    scored on validation images from the others (``selection``). Drawn over the canonical order.
    """
    train = arrays.canonical(splits["train"])
    held = arrays.held_out(train.labels, per_class)
    return {"train": train, "selection": train.take(~held), "validation": train.take(held), "test": splits["test"]}
