"""Canaries for leaks: test images and labels that only a method that reaches for them follows; a watch on files."""

from __future__ import annotations

import gc
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from jkbench.engine import images as image_sets
from jkbench.engine.images import LoadedDataset
from jkbench.seeds import numpy_stream

HELD_OUT = ("test", "validation")
SIGMAS = 5.0
_CODE = (".py", ".pyc", ".so", ".pyd", ".dll")
_SYSTEM = ("/proc/", "/sys/", "/dev/")


@contextmanager
def planted(negatives: bool = False) -> Iterator[None]:
    """Every data set that this process has loaded has random labels on its held-out images, until the block ends.

    ``negatives``: these images are negatives, too. What was loaded is forgotten, so that no true label stays in
    memory: load a task's images inside, and drop what you hold of them before.
    """
    for key in list(image_sets.WHOLE):
        image_sets.WHOLE[key] = _twin(image_sets.WHOLE.pop(key), negatives)
    gc.collect()
    try:
        yield
    finally:
        image_sets.forget()


def _twin(dataset: LoadedDataset, negatives: bool) -> LoadedDataset:
    splits = dict(dataset.splits)
    for name in HELD_OUT:
        split = splits[name]
        labels = numpy_stream("canary", name).permutation(split.labels)
        images = 255 - split.images if negatives else split.images
        splits[name] = replace(split, stored=images, at=None, labels=labels, ordered=False, checked="")
    return replace(dataset, splits=splits)


def chance(classes: int, images: int) -> float:
    """The largest accuracy that a network without a leak has on so many randomly labelled images, all but surely."""
    share = 1 / classes
    return share + SIGMAS * math.sqrt(share * (1 - share) / images)


_heard: list[list[str]] = []
_installed: list[bool] = []


def _hear(event: str, arguments: tuple[object, ...]) -> None:
    if not _heard:
        return
    if event == "socket.connect":
        _heard[-1].append(f"connects to {arguments[1]}")
    elif event == "open" and isinstance(arguments[0], str | bytes | Path):
        path = str(arguments[0], "utf-8", "replace") if isinstance(arguments[0], bytes) else str(arguments[0])
        if not path.endswith(_CODE) and not path.startswith(_SYSTEM):
            _heard[-1].append(f"opens {path}")


@contextmanager
def watched() -> Iterator[list[str]]:
    """What this process opens or connects to in the block, in words; not source, libraries or the system's files."""
    if not _installed:  # a hook stays for good
        sys.addaudithook(_hear)
        _installed.append(True)
    told: list[str] = []
    _heard.append(told)
    try:
        yield told
    finally:
        _heard.remove(told)
