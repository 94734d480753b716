"""Teachers: trained once, checked on load, refused when damaged or of another recipe."""

from __future__ import annotations

from pathlib import Path

import pytest
import small

from jkbench import recipe
from jkbench.engine import reference, resident
from jkbench.engine.trial import run
from jkbench.errors import UserError
from jkbench.plugins.discovery import Index


def teacher_of(index: Index, folder: Path) -> tuple[recipe.Recipe, resident.Loaded, Path]:
    made = small.trial(index, "distill")
    found = recipe.of_task(made.task, made.datasets)
    assert found is not None
    data = resident.of_task(made.task, made.datasets).source
    reference.obtain(folder, found, data, small.CPU)
    return found, data, reference.path(folder, found)


def test_a_teacher_is_trained_once_and_checked_on_load(index: Index, tmp_path: Path) -> None:
    found, data, path = teacher_of(index, tmp_path)
    assert path.name == f"teacher-{found.hash}.safetensors"
    written = path.stat().st_mtime_ns
    kept = reference.obtain(tmp_path, found, data, small.CPU)
    assert path.stat().st_mtime_ns == written
    again = reference.train(found, data, small.CPU, lambda step, steps: None)
    assert again.weights == kept.weights
    before = path.read_bytes()
    reference.store(again, data, tmp_path)
    assert path.read_bytes() == before
    assert again.accuracy == kept.accuracy


def test_a_damaged_or_foreign_teacher_is_refused_and_never_trained_over(index: Index, tmp_path: Path) -> None:
    found, data, path = teacher_of(index, tmp_path)
    good = path.read_bytes()
    flipped = bytearray(good)
    flipped[-5] ^= 0xFF
    for content, told in ((good[:200], "damaged"), (bytes(flipped), "damaged"), (b"", "damaged")):
        path.write_bytes(content)
        with pytest.raises(UserError, match=told):
            reference.load(tmp_path, found, data, small.CPU)
        got = run(small.trial(index, "distill"), small.where(tmp_path))
        assert got.status == "failed"
        assert "delete the file" in (got.message or "")
        assert path.read_bytes() == content
    path.write_bytes(good)
    other = recipe.Recipe(**{**found.__dict__, "seed": 1})
    reference.path(tmp_path, other).write_bytes(good)
    with pytest.raises(UserError, match="another recipe"):
        reference.load(tmp_path, other, data, small.CPU)
    elsewhere = resident.Loaded(data.splits, data.classes, "0" * 16)
    with pytest.raises(UserError, match="other images"):
        reference.load(tmp_path, found, elsewhere, small.CPU)
