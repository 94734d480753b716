"""Prepared data sets: downloaded or imported once, put into canonical order, stored as arrays in ``JKBENCH_DATA``.

A folder ``NAME`` holds ``train_images.npy`` (uint8 N×H×W×C) and ``train_labels.npy``, the same for ``test`` and (if the
set has it) ``validation``, and ``about.json`` with the class names and the hash of the content. The folder appears
complete or not at all. The hash is checked at every reading (for large files: after every change), and images are
memory maps, so only those in use take memory.

Ours, on ``numpy.save`` and ``numpy.load``: an .npz archive cannot be memory-mapped.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jkbench.data import arrays
from jkbench.data import content as cached_content
from jkbench.data.arrays import Split
from jkbench.errors import UserError
from jkbench.files import data_folder, locked

PARTS = ("train", "validation", "test")
NEEDED = ("train", "test")
ABOUT = "about.json"
CHANGE = "free space there, change its permissions, or set JKBENCH_DATA to another folder"


def path(name: str) -> Path:
    """The folder of a prepared data set."""
    return data_folder() / name


def is_prepared(name: str) -> bool:
    """Whether a data set's folder is there (not whether its files are intact)."""
    return (path(name) / ABOUT).is_file()


def prepared(
    name: str, classes: Sequence[str], content: str, fetch: Callable[[Path], Mapping[str, Split]]
) -> dict[str, Split]:
    """A data set's images in canonical order, prepared now if they are not yet.

    ``fetch`` returns the splits, given a folder for its files. ``content`` is the hash of the published images
    (`content_of`): others are refused. It is empty if images differ between machines (resizing depends on a library's
    version). `UserError` names the wrong file and what to do.
    """
    if not is_prepared(name):
        with preparing(name):
            if not is_prepared(name):
                save(name, classes, content, fetched(name, fetch))
    return load(name, classes, content)


def preparing(name: str) -> AbstractContextManager[None]:
    """A lock: one process prepares a data set, the others wait for it."""
    return locked(data_folder() / f".{name}.lock", CHANGE)


def fetched(name: str, fetch: Callable[[Path], Mapping[str, Split]]) -> Mapping[str, Split]:
    """What ``fetch`` returns; `UserError` if it fails."""
    folder = data_folder() / "downloads" / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return fetch(folder)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"the images of {name} cannot be downloaded to {folder}: {type(error).__name__}: {error}",
            f"empty that folder and try again; without a network: jkbench data import {name} FILE.npz",
        ) from error


def load(name: str, classes: Sequence[str], content: str, again: str = "") -> dict[str, Split]:
    """The splits of a prepared folder, as memory maps. `UserError` if it is damaged or holds different images.

    ``again`` says how to make the folder again, if ``jkbench data prepare NAME`` does not.
    """
    folder = path(name)
    again = again or f"delete it, then jkbench data prepare {name}, or jkbench data import {name} FILE.npz"
    described = about(name, again)
    try:
        # images as maps that are private to the process: torch asks for writable memory, the file never changes
        splits = {
            part: Split(np.load(images, mmap_mode="c"), np.load(folder / f"{part}_labels.npy"), ordered=True)
            for part in PARTS
            if (images := folder / f"{part}_images.npy").is_file()
        }
        files = [folder / f"{part}_{kind}.npy" for part in splits for kind in ("images", "labels")]
        found = cached_content.of_files(files, lambda: content_of(splits))
        if described.get("content") != found:
            raise ValueError("their hash is not the one recorded when they were prepared")
    except (OSError, ValueError, EOFError, TypeError, KeyError, UserError) as error:
        raise damaged(name, error, again) from None
    if content and found != content:
        raise UserError(f"{folder} does not hold the published images of {name}", again)
    _check(name, folder, splits, described.get("classes"), classes, again)
    return {part: replace(split, checked=f"{part} of {found}") for part, split in splits.items()}


def about(name: str, again: str = "") -> dict[str, Any]:
    """What ``about.json`` of a prepared folder says. `UserError` if it cannot be read."""
    try:
        return dict(json.loads((path(name) / ABOUT).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise damaged(name, error, again) from None


def damaged(name: str, error: Exception, again: str) -> UserError:
    """The error for a prepared folder that cannot be read; ``again`` says how to make it again."""
    return UserError(f"the images in {path(name)} are damaged: {getattr(error, 'message', error)}", again)


def read(name: str, file: Path, classes: Sequence[str]) -> dict[str, Split]:
    """The splits of a user's .npz. `UserError` if it is damaged, or its arrays do not fit data set ``name``."""
    hint = f"expected: an .npz with {', '.join(f'{part}_images, {part}_labels' for part in NEEDED)} and classes"
    try:
        with np.load(file, allow_pickle=False) as opened:
            held = {key.replace("val_", "validation_"): np.asarray(opened[key]) for key in opened.files}
    except FileNotFoundError:
        raise UserError(f"there is no file {file}") from None
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zlib.error, zipfile.BadZipFile) as error:
        raise UserError(f"{file} is damaged or not an .npz: {error}", hint) from None
    parts = [part for part in PARTS if part in NEEDED or f"{part}_images" in held]
    missing = [f"{part}_{kind}" for part in parts for kind in ("images", "labels") if f"{part}_{kind}" not in held]
    if missing:
        raise UserError(f"{file} has no {', '.join(missing)}", hint)
    try:
        splits = {part: Split(held[f"{part}_images"], held[f"{part}_labels"]) for part in parts}
    except UserError as error:
        raise UserError(f"{file}: {error.message}", error.hint) from None
    named = list(map(str, held["classes"].reshape(-1))) if "classes" in held else None
    _check(name, file, splits, named, classes, hint)
    arrays.check_every_class(f"{name} in {file}", splits, len(classes))
    return splits


def _check(
    name: str, file: Path, splits: Mapping[str, Split], named: Sequence[str] | None, classes: Sequence[str], hint: str
) -> None:
    if named is not None and list(named) != list(classes):
        first = ", ".join(classes[:4]) + (", …" if len(classes) > 4 else "")
        raise UserError(f"{file} has other classes than {name}, or in another order", f"labels 0, 1, … are: {first}")
    if missing := [part for part in NEEDED if part not in splits]:
        raise UserError(f"{file} has no {', '.join(missing)} images", hint)
    try:
        arrays.check_arrays(name, splits, len(classes))
    except UserError as error:
        raise UserError(f"{file}: {error.message}", error.hint) from None


def content_of(splits: Mapping[str, Split]) -> str:
    """The hash of all images, in whatever order they are stored."""
    return arrays.content({part: arrays.canonical(split) for part, split in splits.items()})


def save(name: str, classes: Sequence[str], content: str, splits: Mapping[str, Split], origin: str = "") -> Path:
    """Write a data set's folder. `UserError` if the images are not the published ones, or the folder cannot be written.

    ``origin`` is the hash of the images that these were resized from, if they were.
    """
    ordered = {part: arrays.canonical(split) for part, split in splits.items()}
    found = arrays.content(ordered)
    if content and found != content:
        counts = ", ".join(f"{len(splits[part])} {part}" for part in splits)
        raise UserError(
            f"these are not the published images of {name}: their hash is {found}, not {content} ({counts} images)",
            "images are compared pixel by pixel, in any order: were they resized, or stored with loss?",
        )
    with _new_folder(path(name)) as folder:
        for part, split in ordered.items():
            with (folder / f"{part}_images.npy").open("wb") as stream:  # not a map: a full disk must raise an error
                header = {"descr": "|u1", "fortran_order": False, "shape": split.shape}
                np.lib.format.write_array_header_1_0(stream, header)
                for images in split.parts():
                    stream.write(images.tobytes())
            np.save(folder / f"{part}_labels.npy", split.labels.astype(np.int64))
        described = {"content": found, "classes": list(classes)} | ({"origin": origin} if origin else {})
        (folder / ABOUT).write_text(json.dumps(described), encoding="utf-8")
    return path(name)


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """A folder that appears under its name when it is complete, or not at all. `UserError` if it cannot be written."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".writing-") as parent:
            writing = Path(parent) / target.name
            writing.mkdir()
            yield writing
            if target.is_dir() and not (target / ABOUT).exists():
                shutil.rmtree(target)  # the remains of something else: it does not say what it is
            writing.rename(target)
    except OSError as error:
        if not (target / ABOUT).is_file():  # else another process was first
            raise UserError(f"{target} cannot be written: {error.strerror}", CHANGE) from None


def with_validation(splits: Mapping[str, Split], per_class: int) -> dict[str, Split]:
    """Validation images for a published set that has none: ``per_class`` training images of each class.

    Trials scored on test images train on all training images (``train``, as published); trials scored on validation
    images train on the others (``selection``). Drawn over the canonical order.
    """
    train = arrays.canonical(splits["train"])
    held = arrays.held_out(train.labels, per_class)
    return {"train": train, "selection": train.take(~held), "validation": train.take(held), "test": splits["test"]}
