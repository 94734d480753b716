"""Data sets that are fetched once: decoded, put into canonical order, and kept as plain arrays under ``JKBENCH_DATA``.

A folder ``NAME`` holds ``train_images.npy`` (uint8 N×H×W×C) and ``train_labels.npy``, the same for ``test`` and for
``validation`` where the set has one, and ``about.json``: the class names and the hash of the content. It appears whole
or not at all; its hash is looked at whenever it is read (of large files: whenever they were touched since), and the
images are then a memory map, so that they take no memory but what is used of them.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jkbench.data import arrays
from jkbench.data import content as content_hash
from jkbench.data.arrays import Split
from jkbench.errors import UserError
from jkbench.files import data_folder, locked

PARTS = ("train", "validation", "test")
NEEDED = ("train", "test")
ABOUT = "about.json"
SET = "make room or permission, or set JKBENCH_DATA to another folder"


def path(name: str) -> Path:
    """The folder of a data set's images, once they are prepared."""
    return data_folder() / name


def is_prepared(name: str) -> bool:
    """Whether a data set's images are there (not whether they are sound)."""
    return (path(name) / ABOUT).is_file()


def prepared(
    name: str, classes: Sequence[str], content: str, fetch: Callable[[Path], Mapping[str, Split]]
) -> dict[str, Split]:
    """A data set's images in canonical order, prepared now where they are not yet.

    ``fetch`` brings the splits, given a folder for its own files; ``content`` is the hash of the published images
    (`content_of`), so that no other images are ever taken for them; empty where the images that one has are not
    those of everybody (resized ones depend on the library that did it). `UserError` says which file is wrong, and what
    to do.
    """
    if not is_prepared(name):
        with alone(name):
            if not is_prepared(name):
                keep(name, classes, content, fetched(name, fetch))
    return kept(name, classes, content)


@contextmanager
def alone(name: str) -> Iterator[None]:
    """One process prepares, the others wait for it."""
    with ExitStack() as held:
        try:
            held.enter_context(locked(data_folder() / f".{name}.lock"))
        except UserError as error:
            raise UserError(f"the data folder: {error.message}", SET) from None
        yield


def fetched(name: str, fetch: Callable[[Path], Mapping[str, Split]]) -> Mapping[str, Split]:
    """What ``fetch`` brings; `UserError` where it fails."""
    folder = data_folder() / "downloads" / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the data folder {folder} cannot be written: {error.strerror}", SET) from None
    try:
        return fetch(folder)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"the images of {name} cannot be fetched into {folder}: {type(error).__name__}: {error}",
            f"empty that folder and try again; without a network: jkbench data import {name} FILE.npz",
        ) from error


def kept(name: str, classes: Sequence[str], content: str, again: str = "") -> dict[str, Split]:
    """The splits of a prepared folder, as memory maps. `UserError` where it is damaged, or holds other images.

    ``again`` says how the folder is made again, where ``jkbench data prepare NAME`` does not.
    """
    folder = path(name)
    again = again or f"delete it, then jkbench data prepare {name}, or jkbench data import {name} FILE.npz"
    told = about(name, again)
    try:
        held = {
            part: Split(_map(folder / f"{part}_images.npy"), np.load(folder / f"{part}_labels.npy"), ordered=True)
            for part in PARTS
            if (folder / f"{part}_images.npy").is_file()
        }
        files = [folder / f"{part}_{kind}.npy" for part in held for kind in ("images", "labels")]
        found = content_hash.of_files(files, lambda: content_of(held))
    except (OSError, ValueError, EOFError, TypeError, KeyError) as error:
        raise UserError(f"the images in {folder} are damaged: {error}", again) from None
    if told.get("content") != found:
        raise UserError(f"the images in {folder} are damaged: they are not those that were prepared", again)
    if content and found != content:
        raise UserError(f"{folder} does not hold the published images of {name}", again)
    _check(name, folder, held, told.get("classes"), classes, again)
    return {part: replace(split, checked=f"{part} of {found}") for part, split in held.items()}


def about(name: str, again: str = "") -> dict[str, Any]:
    """What a prepared folder says of itself. `UserError` where it says nothing that can be read."""
    try:
        told = json.loads((path(name) / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"the images in {path(name)} are damaged: {error}", again) from None
    if not isinstance(told, dict):
        raise UserError(f"the images in {path(name)} are damaged: {ABOUT} does not say what they are", again)
    return told


def _map(file: Path) -> NDArray[np.uint8]:
    """An array as a map of its file, whose pages are let go of when memory is short.

    Private to the process: torch asks for memory that it may write, and nothing is ever written back.
    """
    found: NDArray[np.uint8] = np.load(file, mmap_mode="c")
    return found


def read(name: str, file: Path, classes: Sequence[str]) -> dict[str, Split]:
    """The splits of somebody's .npz. `UserError` where it is damaged, or its arrays are not those of ``name``."""
    hint = f"an .npz with {', '.join(f'{part}_images, {part}_labels' for part in NEEDED)} and classes"
    try:
        with np.load(file, allow_pickle=False) as opened:
            held = {_canonical_name(key): np.asarray(opened[key]) for key in opened.files}
    except FileNotFoundError:
        raise UserError(f"there is no file {file}") from None
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zlib.error, zipfile.BadZipFile) as error:
        raise UserError(f"{file} is damaged or no .npz: {error}", hint) from None
    parts = [part for part in PARTS if part in NEEDED or f"{part}_images" in held]
    missing = [f"{part}_{kind}" for part in parts for kind in ("images", "labels") if f"{part}_{kind}" not in held]
    if missing:
        raise UserError(f"{file} has no {', '.join(missing)}", hint)
    splits = {part: Split(held[f"{part}_images"], _integers(held[f"{part}_labels"])) for part in parts}
    named = list(map(str, held["classes"].reshape(-1))) if "classes" in held else None
    _check(name, file, splits, named, classes, hint)
    arrays.check_every_class(f"{name} in {file}", splits, len(classes))
    return splits


def _canonical_name(key: str) -> str:
    return key.replace("val_", "validation_", 1) if key.startswith("val_") else key


def _check(
    name: str, file: Path, splits: Mapping[str, Split], named: Sequence[str] | None, classes: Sequence[str], hint: str
) -> None:
    if named is not None and list(named) != list(classes):
        raise UserError(
            f"{file} has other classes than {name}, or in another order", f"labels 0, 1, …: {_some(classes)}"
        )
    if missing := [part for part in NEEDED if part not in splits]:
        raise UserError(f"{file} has no {', '.join(missing)} images", hint)
    try:
        arrays.check_arrays(name, splits, len(classes))
    except UserError as error:
        raise UserError(f"{file}: {error.message}", error.hint) from None


def _integers(labels: NDArray[np.generic]) -> NDArray[np.int64]:
    return labels.astype(np.int64) if labels.dtype.kind in "iu" else labels  # type: ignore[return-value]


def _some(classes: Sequence[str]) -> str:
    return ", ".join(classes[:4]) + (", …" if len(classes) > 4 else "")


def content_of(splits: Mapping[str, Split]) -> str:
    """The hash of all images, whatever order they are stored in."""
    return arrays.content({part: arrays.canonical(split) for part, split in splits.items()})


def keep(name: str, classes: Sequence[str], content: str, splits: Mapping[str, Split], origin: str = "") -> Path:
    """Write a data set's folder. `UserError` where the images are not the published ones, or nothing can be written.

    ``origin`` is the hash of the images that these were resized from, where they were.
    """
    ordered = {part: arrays.canonical(split) for part, split in splits.items()}
    found = arrays.content(ordered)
    if content and found != content:
        counts = ", ".join(f"{len(splits[part])} {part}" for part in splits)
        raise UserError(
            f"these are not the published images of {name}: their hash is {found}, not {content} ({counts} images)",
            "images are compared pixel by pixel, in any order: were they stored with loss, or resized?",
        )
    with new_folder(path(name)) as folder:
        for part, split in ordered.items():
            with (folder / f"{part}_images.npy").open("wb") as stream:  # not a map: a full disk is then an error
                header = {"descr": "|u1", "fortran_order": False, "shape": split.shape}
                np.lib.format.write_array_header_1_0(stream, header)
                for images in split.parts():
                    stream.write(images.tobytes())
            np.save(folder / f"{part}_labels.npy", split.labels.astype(np.int64))
        told = {"content": found, "classes": list(classes)} | ({"origin": origin} if origin else {})
        (folder / ABOUT).write_text(json.dumps(told), encoding="utf-8")
    return path(name)


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder that appears under its name when all of it is written, or not at all. `UserError` where it cannot."""
    writing: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        writing = Path(tempfile.mkdtemp(dir=target.parent, prefix=".writing-"))
        yield writing
        if target.is_dir() and not (target / ABOUT).exists():
            shutil.rmtree(target)  # what somebody left without saying what it is
        writing.chmod(0o755)
        writing.rename(target)
    except OSError as error:
        if (target / ABOUT).is_file():  # another process was first
            return
        raise UserError(f"{target} cannot be written: {error.strerror}", SET) from None
    finally:
        if writing is not None:
            shutil.rmtree(writing, ignore_errors=True)


def with_validation(splits: Mapping[str, Split], per_class: int) -> dict[str, Split]:
    """Validation images for a published set that has none: ``per_class`` training images of each class.

    Trials that are scored on test images learn from all training images (``train``, as published), those that are
    scored on validation images from the others (``selection``). Drawn over the canonical order.
    """
    train = arrays.canonical(splits["train"])
    held = arrays.held_out(train.labels, per_class)
    return {"train": train, "selection": train.take(~held), "validation": train.take(held), "test": splits["test"]}
