"""Images that do not fit on the device are read from where they are stored, to the same numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import small
import torch

from jkbench.data.arrays import Split
from jkbench.engine import resident
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
    statistics = resident.statistics(some)
    held = resident.reside(some, statistics, CPU)
    monkeypatch.setattr(resident, "room", lambda device: 0)
    streamed = resident.reside(some, statistics, CPU)
    assert held.at is None
    assert streamed.at is not None
    assert streamed.images.untyped_storage().nbytes() == mapped.nbytes, "the map itself, not a copy"
    for index in (slice(1, 4), torch.tensor([4, 0, 0])):
        assert torch.equal(held.read(index), streamed.read(index))
        assert torch.equal(
            held.subset(torch.tensor([2, 1])).read(slice(0, 2)), streamed.subset(torch.tensor([2, 1])).read(slice(0, 2))
        )
    assert b"".join(held.parts(2)) == b"".join(streamed.parts(3))
    assert held.read(slice(0, 5)).stride() == streamed.read(slice(0, 5)).stride(), "one layout: the same kernels"


def test_a_trial_of_streamed_images_gives_the_same_record(
    index: Index, references: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = small.trial(index, "attention-jacobian")
    held = run(trial, small.where(references))
    monkeypatch.setattr(resident, "room", lambda device: 0)
    streamed = run(trial, small.where(references))
    assert held.status == streamed.status == "ok"
    assert (held.metrics, held.predictions, held.pairing) == (streamed.metrics, streamed.predictions, streamed.pairing)


def test_statistics_are_those_of_all_pixels(mapped: np.ndarray) -> None:
    mean, std = resident.statistics(Split(mapped, np.zeros(40, dtype=np.int64)))
    pixels = np.asarray(mapped, dtype=np.float64) / 255
    assert mean.flatten().tolist() == pytest.approx(pixels.mean((0, 1, 2)), rel=1e-6)
    assert std.flatten().tolist() == pytest.approx(pixels.std((0, 1, 2)), rel=1e-6)
