"""Fetching published images: the download and the checksums are torchvision's."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from jkbench.data.arrays import Split
from jkbench.data.photographs import Files
from jkbench.data.prepared import NEEDED
from jkbench.errors import UserError


def of_torchvision(class_name: str) -> Callable[[Path], dict[str, Split]]:
    """Fetch through one of torchvision's data sets that has ``train``, ``data`` and ``targets``: its download and its
    checksums."""

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
    """Fetch the files of one of torchvision's data sets of photographs: ``splits`` are its names of our splits.

    Labels go by the names of its classes, so that a class that is missing in a split moves no others. `UserError` where
    it has one that is not among ``classes``.
    """

    def files(folder: Path) -> dict[str, Files]:
        import torchvision.datasets

        found: dict[str, Files] = {}
        for part, split in splits.items():
            held = getattr(torchvision.datasets, class_name)(str(folder), split=split, download=True)
            listed = held._image_files if hasattr(held, "_image_files") else held._images
            place = labels_of(held.classes, classes, str(folder))
            found[part] = [(Path(file), place[label]) for file, label in zip(listed, held._labels, strict=True)]
        return found

    return files


def labels_of(names: Sequence[str], classes: Sequence[str], where: str) -> list[int]:
    """The label of each of these names. `UserError` names those that are no classes."""
    if unknown := sorted(set(names) - set(classes)):
        raise UserError(f"{where} has classes that this set has not: {', '.join(unknown[:5])}", "delete it, try again")
    return [classes.index(name) for name in names]


def downloaded(url: str, folder: Path) -> Path:
    """A file of the network in ``folder``, whole or not at all; not fetched where it is already there."""
    target = folder / Path(url).name
    if not target.is_file():
        from torchvision.datasets import utils

        with tempfile.TemporaryDirectory(dir=folder, prefix=".fetching-") as making:
            utils.download_url(url, making)
            (Path(making) / target.name).rename(target)
    return target


def unpacked(url: str, folder: Path) -> Path:
    """The folder that an archive of the network was unpacked into, whole or not at all.

    An archive that lies in ``folder`` already is taken as it is.
    """
    target = folder / Path(url).name.partition(".")[0]
    if not target.is_dir():
        from torchvision.datasets import utils

        archive = downloaded(url, folder)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".unpacking-") as making:
            utils.extract_archive(str(archive), str(Path(making) / "whole"))
            (Path(making) / "whole").rename(target)
        archive.unlink()
    return target
