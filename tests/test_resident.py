"""Images that do not fit on the device are read from where they are stored, to the same numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import small
import torch

from jkbench.data.arrays import Split, release
from jkbench.engine import images as image_sets
from jkbench.engine.trial import run
from jkbench.plugins.discovery import Index

CPU = torch.device("cpu")


@pytest.fixture
def mapped(tmp_path: Path) -> np.ndarray:
    drawn = np.random.default_rng(0).integers(0, 256, (40, 6, 6, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", drawn)
    return np.load(tmp_path / "images.npy", mmap_mode="c")


def test_streamed_images_are_the_resident_ones(mapped: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.arange(40) % 4
    some = Split(mapped, labels).take(np.array([3, 1, 38, 20, 7]))
    statistics = image_sets.statistics(some)
    held = image_sets.on_device(some, statistics, CPU)
    monkeypatch.setattr(image_sets, "room", lambda device: 0)
    streamed = image_sets.on_device(some, statistics, CPU)
    assert held.at is None
    assert streamed.at is not None
    assert streamed.images.untyped_storage().nbytes() == mapped.nbytes, "the map itself, not a copy"
    for index in (slice(1, 4), torch.tensor([4, 0, 0])):
        assert torch.equal(held.read(index), streamed.read(index))
    assert b"".join(held.parts(2)) == b"".join(streamed.parts(3))
    assert held.read(slice(0, 5)).stride() == streamed.read(slice(0, 5)).stride(), "one layout: the same kernels"


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="the system does not say which pages are in memory")
@pytest.mark.parametrize("some", [False, True])
def test_what_has_been_read_of_a_map_is_released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, some: bool) -> None:
    file = tmp_path / "many.npy"
    np.save(file, np.zeros((2000, 40, 40, 3), dtype=np.uint8))
    whole = Split(np.load(file, mmap_mode="c"), np.arange(2000) % 4)
    split = whole.take(np.arange(0, 2000, 2)) if some else whole
    monkeypatch.setattr(image_sets, "room", lambda device: 0)
    streamed = image_sets.on_device(split, image_sets.statistics(split), CPU)
    assert in_memory(file) == 0
    assert len(whole.stored[:1000].tobytes()) < 1024 * in_memory(file), "a plain read of the map does stay"
    release(whole.stored)
    for _ in streamed.parts():
        pass
    streamed.read(torch.arange(len(split)))
    streamed.read(slice(0, len(split)))
    assert in_memory(file) == 0


def in_memory(file: Path) -> int:
    """KiB of this process's maps of a file that are in memory."""
    mine, found = False, 0
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8").split("\n"):
        if "-" in line.split(" ", 1)[0]:
            mine = line.endswith(str(file))
        elif mine and line.startswith("Rss:"):
            found += int(line.split()[1])
    return found


def test_a_trial_of_streamed_images_gives_the_same_record(
    index: Index, references: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = small.trial(index, "attention-jacobian")
    held = run(trial, small.where(references))
    monkeypatch.setattr(image_sets, "room", lambda device: 0)
    streamed = run(trial, small.where(references))
    assert held.status == streamed.status == "ok"
    assert (held.metrics, held.predictions, held.pairing) == (streamed.metrics, streamed.predictions, streamed.pairing)


def test_statistics_are_those_of_all_pixels(mapped: np.ndarray) -> None:
    mean, std = image_sets.statistics(Split(mapped, np.zeros(40, dtype=np.int64)))
    pixels = np.asarray(mapped, dtype=np.float64) / 255
    assert mean.flatten().tolist() == pytest.approx(pixels.mean((0, 1, 2)), rel=1e-6)
    assert std.flatten().tolist() == pytest.approx(pixels.std((0, 1, 2)), rel=1e-6)
