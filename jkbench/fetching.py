"""Fetching published images: the download and the checksums are torchvision's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from jkbench.data.arrays import Split
from jkbench.data.prepared import NEEDED


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
