"""Isolation: nothing that a plugin does reaches another trial, or the cached signals on disk."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import small
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from jkbench import planning as plan
from jkbench.data.arrays import Split, carve
from jkbench.engine import images as image_sets
from jkbench.engine.images import ImageSet
from jkbench.engine.setup import make_ready, trained_networks
from jkbench.engine.signals import Batch
from jkbench.engine.trial import run
from jkbench.plugins.discovery import Index, discover
from jkbench.records.schema import Record

SPOILER = '''"""Spoils its teacher."""
import gc
import torch
from torch import nn
from jkbench import Method, cross_entropy, squared_error

def held(*roots):
    """Every object that can be reached from these through attributes, containers, closures and bound methods."""
    found, waiting = {}, list(roots)
    while waiting:
        one = waiting.pop()
        if id(one) in found or isinstance(one, (type, str, int, float, torch.Tensor)) or type(one).__name__ == "module":
            continue
        found[id(one)] = one
        inner = [*getattr(one, "__dict__", {}).values(), *(one if isinstance(one, (list, tuple)) else ())]
        inner += one.values() if isinstance(one, dict) else ()
        inner += [cell.cell_contents for cell in getattr(one, "__closure__", None) or ()]
        inner += [getattr(one, name) for name in ("__self__", "__func__", "func", "args") if hasattr(one, name)]
        waiting += inner
    return found.values()

class Mine(Method):
    tasks = {"distillation"}

    def loss(self, batch, student, teacher):
        yield "ce", cross_entropy(student.logits, batch.y)
        yield "act", squared_error(student.teacher_logits, teacher.logits)
        rows = teacher.rows("correct")
        yield "jac", squared_error(student.jacobian(rows).flatten(1), teacher.jacobian(rows).flatten(1))

    def fit(self, loop):
        for batch, student, teacher in loop:
            with torch.no_grad():
                STATEMENT
            loop.step(self.loss(batch, student, teacher))
'''
TRAINED = "set it to train mode"
CHANGED = "changed its weights or buffers"
ATTACKS = [
    ("loop.teacher.train()", TRAINED),
    ("loop.teacher.head.bias.add_(1.0)", CHANGED),
    ("loop.teacher.head.weight.data *= 1.5", CHANGED),
    ("teacher._network.body.train()", TRAINED),
    ("teacher._live._network.head.bias.sub_(2.0)", CHANGED),
    ("loop.teacher.train(); loop.teacher(batch.x); loop.teacher.eval()", CHANGED),
    (
        "[p.mul_(1.5) for m in held(loop, batch, student, teacher) if isinstance(m, nn.Module)"
        " for p in m.parameters() if not p.requires_grad]",
        CHANGED,
    ),
    ("loop.teacher.head.bias.add_(1.0); raise SystemExit(0)", CHANGED),
    ("[i.images.zero_() for i in held(loop, teacher) if type(i).__name__ == 'ImageSet']", "training images"),
]


def clean(index: Index, folder: Path, cache: Path) -> Record:
    record = run(small.trial(index, "jacobian"), small.where(folder, cache=cache))
    assert record.status == "ok", record.message
    return record


@pytest.mark.parametrize(("attack", "sentence"), ATTACKS)
def test_a_plugin_that_spoils_its_teacher_fails_and_spoils_nothing_else(
    index: Index, references: Path, tmp_path: Path, attack: str, sentence: str
) -> None:
    """The rows after it, in its process and folder and in a new folder with the same cache, keep their numbers."""
    expected = clean(index, references, tmp_path / "clean")
    (tmp_path / "mine.py").write_text(SPOILER.replace("STATEMENT", attack))
    cache = tmp_path / "cache"
    spoiled = run(small.trial(discover([tmp_path]), "mine"), small.where(references, cache=cache))
    assert spoiled.status == "failed"
    assert sentence in (spoiled.message or "")
    shutil.copytree(references, tmp_path / "new")
    for folder in (references, tmp_path / "new"):
        after = clean(index, folder, cache)
        assert (after.metrics, after.predictions, after.curves) == (
            expected.metrics, expected.predictions, expected.curves,
        )  # fmt: skip


@pytest.mark.parametrize(
    "attack",
    [
        "teacher.logits.zero_(); teacher.jacobian(teacher.rows('correct')).zero_()",
        "batch.x.zero_(); batch.y.zero_()",
        "torch.autocast('cpu').__enter__()",
    ],
)
def test_what_a_loss_writes_into_its_own_batch_stays_there(
    index: Index, references: Path, tmp_path: Path, attack: str
) -> None:
    """Values, images and labels of a batch are the loss's own; a precision or a mode of the loss is not the cache's."""
    expected = clean(index, references, tmp_path / "clean")
    text = SPOILER.replace("STATEMENT", "pass").replace(
        '        yield "ce"', f'        with torch.no_grad():\n            {attack}\n        yield "ce"', 1
    )
    if "autocast" in attack:  # the whole loss in low precision, left again
        text = SPOILER.replace("STATEMENT", "pass").replace(
            "            loop.step(", "            with torch.autocast('cpu'):\n                loop.step(", 1
        )
    (tmp_path / "mine.py").write_text(text)
    cache = tmp_path / "cache"
    record = run(small.trial(discover([tmp_path]), "mine"), small.where(references, cache=cache))
    assert record.status == "ok", record.message
    after = clean(index, references, cache)
    assert (after.metrics, after.curves) == (expected.metrics, expected.curves)


@pytest.mark.parametrize("mode", ["set_default_dtype(torch.float64)", "set_grad_enabled(False)", "set_num_threads(3)"])
def test_a_mode_of_torch_that_a_plugin_leaves_reaches_no_other_trial(
    index: Index, references: Path, tmp_path: Path, mode: str
) -> None:
    expected = clean(index, references, tmp_path / "clean")
    text = SPOILER.replace("STATEMENT", "pass")
    (tmp_path / "mine.py").write_text(f"{text}        torch.{mode}\n")
    run(small.trial(discover([tmp_path]), "mine"), small.where(references))
    after = clean(index, references, tmp_path / "clean")
    assert (after.metrics, after.curves, after.environment) == (
        expected.metrics, expected.curves, expected.environment,
    )  # fmt: skip


@pytest.mark.parametrize("images", ["program.cache._images", "batches.images"])
def test_images_that_numpy_writes_into_reach_no_other_trial(
    index: Index, references: Path, tmp_path: Path, images: str
) -> None:
    """Torch counts no version of such a write."""
    expected = clean(index, references, tmp_path / "clean")
    text = SPOILER.replace("STATEMENT", "pass")
    (tmp_path / "mine.py").write_text(f"{text}        loop.{images}.images.numpy()[:] = 0\n")
    for shots in (4, "full"):
        made = replace(small.trial(discover([tmp_path]), "mine"), shots=shots)  # type: ignore[arg-type]
        spoiled = run(made, small.where(references, cache=tmp_path / "new"))
        assert spoiled.status == "failed"
        assert "changed its training images" in (spoiled.message or "")
    after = clean(index, references, tmp_path / "new")
    assert (after.metrics, after.curves) == (expected.metrics, expected.curves)


def test_a_trial_that_only_reads_its_teacher_leaves_it_as_it_was(index: Index, references: Path) -> None:
    """The check itself: a loss that reads every signal passes it."""
    for name in ("jacobian", "attention-jacobian", "noise", "jacobian[rows=projection]"):
        made = small.trial(index, name)
        data = image_sets.of_task(made.task, made.datasets)
        ready = make_ready(made, small.CPU, data, trained_networks(made, small.where(references), data))
        ready.method.fit(ready.loop)
        ready.check_unchanged()


def test_students_that_match_other_layers_share_the_teachers_signals(
    index: Index, references: Path, tmp_path: Path
) -> None:
    """A cached signal is named by what it depends on: the teacher, its layer and the size, not the student's layer."""
    task, found = small.task(), []
    for layer in ("stage1", "stage2"):
        matching = task.matching.model_copy(update={"layers": ((layer, "stage2"),), "resize": True})
        changed = task.model_copy(update={"matching": matching})
        (made,) = plan.make(changed, index, "attention-jacobian", seeds=[0]).trials
        record = run(made, small.where(references, cache=tmp_path))
        assert record.status == "ok", record.message
        found.append({folder.name for folder in (tmp_path / "signals").iterdir()})
    assert found[0] == found[1]


class _NoHostRead(TorchDispatchMode):
    """Fails where a value leaves the device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        assert "local_scalar_dense" not in str(func), "the step reads a value back to the host"
        assert "nonzero" not in str(func), "the step asks for a size that depends on values"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["scratch", "distill", "jacobian", "attention-jacobian", "noise", "lwf-jacobian"])
def test_a_step_reads_nothing_back_to_the_host(index: Index, references: Path, name: str) -> None:
    loop, method, *_ = small.loop_of(small.trial(index, name), references)
    loop.student.train()
    loop.program(method.loss, loop.batch(0), 1e-3)  # the teacher's signals are now cached
    with _NoHostRead():
        terms = loop.program(method.loss, loop.batch(1), 1e-3)
    assert terms


def held_out_splits() -> dict[str, Split]:
    """Splits of a set without validation images of its own: they are training images, and ``selection`` is the rest."""
    drawn = np.random.default_rng(0).integers(0, 256, (80, 8, 8, 1), dtype=np.uint8)
    parts = carve(drawn, np.arange(80) % 5, 4, 4)
    both = [np.concatenate([getattr(parts[n], what) for n in ("train", "validation")]) for what in ("images", "labels")]
    return {"train": Split(*both), "selection": parts["train"], "validation": parts["validation"],
            "test": parts["test"]}  # fmt: skip


def test_students_of_validation_trials_never_see_a_validation_image(
    index: Index, references: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else candidates would be chosen on images that they were trained on."""
    splits, seen = held_out_splits(), []
    monkeypatch.setattr(image_sets, "_load", lambda *_: image_sets.LoadedDataset(splits, tuple("abcde"), "held-out"))
    image_sets.forget()
    made = small.trial(index, "scratch", "robustness")
    target = made.task.target.model_copy(update={"classes": None})
    task = made.task.model_copy(update={"target": target})
    plain = ImageSet.read

    def read(self: ImageSet, at: object) -> torch.Tensor:
        seen.append(self.pixels(at))  # type: ignore[arg-type]
        return plain(self, at)  # type: ignore[arg-type]

    def images_of(split: str) -> set[bytes]:
        """The images of all batches of a trial, as its student sees them."""
        trial = replace(made, task=task, split=split, shots="full")  # type: ignore[arg-type]
        data = image_sets.of_task(trial.task, trial.datasets)
        loop = make_ready(trial, small.CPU, data, trained_networks(trial, small.where(references), data)).loop
        found: set[bytes] = set()
        with monkeypatch.context() as patched:
            patched.setattr(ImageSet, "read", read)
            for step in range(len(loop)):
                seen.clear()
                batch = loop.batch(step)
                assert isinstance(batch, Batch)
                found |= {image.tobytes() for part in seen for image in part.permute(0, 2, 3, 1).contiguous().numpy()}
        return found

    validation = {image.tobytes() for image in splits["validation"].images}
    try:
        assert images_of("test") & validation  # they are training images
        assert not images_of("validation") & validation
    finally:
        image_sets.forget()
