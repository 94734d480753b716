"""Leaks: on random test labels every method is at chance, and one that reaches for test images or labels is caught."""

from __future__ import annotations

from pathlib import Path

import pytest
import small
import torch

from jkbench.engine import canary, scoring
from jkbench.engine import images as image_sets
from jkbench.engine.check import check
from jkbench.engine.setup import make_ready, trained_networks
from jkbench.plugins.discovery import Index, discover
from jkbench.tasks.families import FAMILIES

METHODS = discover().methods()
STEPS = 30


def accuracy(index: Index, folder: Path, method: str, kind: str) -> tuple[float, float]:
    """A trained student's accuracy, and the largest that chance allows."""
    trial = small.trial(index, method, kind, steps=STEPS)
    data = image_sets.of_task(trial.task, trial.datasets)
    ready = make_ready(trial, small.CPU, data, trained_networks(trial, small.where(folder), data))
    ready.method.fit(ready.loop)
    found = scoring.accuracy(scoring.logits(ready.deployed, ready.scored), ready.scored.labels)
    return found, canary.chance(ready.data.classes, len(ready.scored))


@pytest.mark.parametrize("kind", FAMILIES)
def test_on_random_test_labels_every_method_is_at_chance(index: Index, references: Path, kind: str) -> None:
    names = [name for name, plugin in METHODS.items() if kind in plugin.tasks]
    assert "scratch" in names
    honest, most = accuracy(index, references, "scratch", kind)
    assert honest > most  # it learns: on true labels it is far above chance
    with canary.planted():
        found = {name: accuracy(index, references, name, kind)[0] for name in names}
    assert {name: value for name, value in found.items() if not 2 / 5 - most <= value <= most} == {}
    assert accuracy(index, references, "scratch", kind)[0] == honest


LEAK = '''"""Fits images that it was not given."""
import gc, importlib, sys
import torch
from jkbench import Method
from jkbench.maths import cross_entropy

class Leak(Method):
    tasks = {{"distillation", "robustness"}}

    def loss(self, batch, student, teacher):
        {reach}
        y = torch.as_tensor(labels)
        yield "ce", cross_entropy(student.logits, batch.y) + 0 * student.logits.sum() * y.float().mean()
        yield "leak", (student.logits.mean() - y.float()[:7].sum() - x.astype("float32")[:7].mean()) ** 2
'''
REACHES = {
    "the engine's data sets": (
        'held = list(sys.modules["jkbench.engine" + ".images"].WHOLE.values())[0].splits["test"]\n'
        "        x, labels = held.images, held.labels",
        "the same seed gives the same numbers, whatever the test images and labels are",
    ),
    "whatever is in memory": (
        'held = [o for o in gc.get_objects() if type(o).__name__ == "Split" and o.checked == "" and len(o) == 400][0]\n'
        "        x, labels = held.images, held.labels",
        "the same seed gives the same numbers, whatever the test images and labels are",
    ),
    "the files of a library": (
        'bunch = getattr(importlib, "import_" + "module")("sklearn" + ".datasets").load_digits()\n'
        "        x, labels = bunch.images, bunch.target",
        "it opens no files",
    ),
}


@pytest.mark.parametrize("reach", REACHES)
def test_a_method_that_reaches_for_test_images_or_labels_is_caught(tmp_path: Path, reach: str) -> None:
    code, finding = REACHES[reach]
    file = tmp_path / "leak.py"
    file.write_text(LEAK.format(reach=code))
    failed = [found.what for found in check(file) if not found.held]
    assert f"robustness: {finding}" in failed, failed


def test_a_method_that_learns_the_test_labels_is_above_chance(index: Index, references: Path) -> None:
    """The bound is no formality: a network that fits the canary's labels is far above it."""
    trial = small.trial(index, "scratch", "robustness")
    with canary.planted():
        data = image_sets.of_task(trial.task, trial.datasets)
        held = image_sets.on_device(data.target.splits["test"], data.normalisation, small.CPU)
        ready = make_ready(trial, small.CPU, data, trained_networks(trial, small.where(references), data))
        optimiser = torch.optim.Adam(ready.student.parameters(), 0.01)
        x = held.read(slice(None))
        for _ in range(80):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(ready.student(x).logits, held.labels).backward()
            optimiser.step()
        found = scoring.accuracy(scoring.logits(ready.student, held), held.labels)
    assert found > canary.chance(5, len(held))


def test_only_data_files_and_connections_are_heard(tmp_path: Path) -> None:
    (tmp_path / "labels.npy").write_bytes(b"")
    (tmp_path / "module.py").write_text("")
    with canary.watched() as told:
        (tmp_path / "labels.npy").read_bytes()
        (tmp_path / "module.py").read_text()
        Path("/proc/self/status").read_text()
    (tmp_path / "labels.npy").read_bytes()
    assert told == [f"opens {tmp_path / 'labels.npy'}"]
