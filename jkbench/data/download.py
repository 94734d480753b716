"""Downloading published images. Downloads and checksums are torchvision's, unpacking is the standard library's.

pooch was weighed: it unpacks into the final folder, so that an interrupted run leaves half of it, and torchvision is
here anyway. What is ours is that a file or folder appears complete or not at all.
"""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from jkbench.data.arrays import Split
from jkbench.data.photographs import Files
from jkbench.data.prepared import NEEDED
from jkbench.errors import UserError


def of_torchvision(class_name: str) -> Callable[[Path], dict[str, Split]]:
    """Download one of torchvision's data sets that have ``train``, ``data`` and ``targets``, with its checksums."""

    def fetch(folder: Path) -> dict[str, Split]:
        import torchvision.datasets

        found = {}
        for part in NEEDED:
            held = getattr(torchvision.datasets, class_name)(str(folder), train=part == "train", download=True)
            found[part] = Split(np.asarray(held.data), np.asarray(held.targets, dtype=np.int64))
        return found

    return fetch


def files_of_torchvision(
    class_name: str, classes: Sequence[str], splits: Mapping[str, str]
) -> Callable[[Path], dict[str, Files]]:
    """Download the files of one of torchvision's data sets of photographs; ``splits`` maps our split names to its own.

    Labels follow class names, so a class that a split lacks does not shift the others. `UserError` for a class that
    is not in ``classes``.
    """

    def files(folder: Path) -> dict[str, Files]:
        import torchvision.datasets

        found: dict[str, Files] = {}
        for part, split in splits.items():
            held = getattr(torchvision.datasets, class_name)(str(folder), split=split, download=True)
            listed = held._image_files if hasattr(held, "_image_files") else held._images
            labels = labels_of(held.classes, classes, str(folder))
            found[part] = [(Path(file), labels[label]) for file, label in zip(listed, held._labels, strict=True)]
        return found

    return files


def labels_of(names: Sequence[str], classes: Sequence[str], where: str) -> list[int]:
    """The label of each of these class names. `UserError` lists unknown ones."""
    if unknown := sorted(set(names) - set(classes)):
        raise UserError(f"{where} has unknown classes: {', '.join(unknown[:5])}", "delete it and try again")
    return [classes.index(name) for name in names]


def downloaded(url: str, folder: Path) -> Path:
    """The path of a file in ``folder``, downloaded if it is missing, completely or not at all."""
    target = folder / Path(url).name
    if not target.is_file():
        from torchvision.datasets import utils

        with tempfile.TemporaryDirectory(dir=folder, prefix=".fetching-") as making:
            utils.download_url(url, making)
            (Path(making) / target.name).rename(target)
    return target


def unpacked(url: str, folder: Path) -> Path:
    """The folder of an unpacked archive, downloaded if it is missing, completely or not at all.

    An archive that is already in ``folder`` is used as it is. Members that would leave the folder are refused.
    """
    target = folder / Path(url).name.partition(".")[0]
    if not target.is_dir():
        archive = downloaded(url, folder)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".unpacking-") as making:
            # zip archives take no filter: their members cannot leave the folder anyway
            shutil.unpack_archive(archive, f"{making}/all", filter="data" if tarfile.is_tarfile(archive) else None)
            Path(making, "all").rename(target)
        archive.unlink()
    return target
