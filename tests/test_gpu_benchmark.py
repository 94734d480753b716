"""benchmarks/gpu.py, tried without a GPU: what it finds, that it resumes, and the page it writes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import small
import torch
import user_folder

sys.path.append(str(small.ROOT / "benchmarks"))  # after the standard library, whose `statistics` is not ours

import gpu
import gpu_page


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> gpu.Bench:
    monkeypatch.setattr(gpu, "TASKS", {"digits": user_folder.make_folder(tmp_path) / "small.toml"})
    monkeypatch.setattr(gpu, "AT_ONCE", (1, 2))
    return gpu.Bench(torch.device("cpu"), 14, tmp_path)


def test_it_finds_bits_and_replays_resumes_and_writes_its_page(bench: gpu.Bench, tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    kept = gpu.measure(bench, out, quick=True, minutes=9)
    speed = kept["found"]["digits/jacobian/speed"]
    assert speed["replayed equals eager"]
    assert speed["repeats"]
    assert speed["replays"] == 4
    assert speed["kernels"] > 100
    assert kept["found"]["digits/jacobian/streams"]["2 at once equals alone"]
    kept["found"]["digits/jacobian/speed"]["eager ms"] = 1234.5
    out.write_text(json.dumps(kept))
    again: dict[str, Any] = gpu.measure(bench, out, quick=True, minutes=9)
    assert again["found"]["digits/jacobian/speed"]["eager ms"] == 1234.5, "what is there is not measured again"
    gpu_page.written(out)
    assert "| `jacobian` |   1234.500 |" in (tmp_path / "gpu.md").read_text()


def test_a_training_with_other_weights_is_told() -> None:
    one, other = (type("R", (), {"student": torch.nn.Linear(2, 2)})() for _ in range(2))
    assert gpu.same(one, one)
    assert not gpu.same(one, other)


def test_the_grid_is_extrapolated_from_a_step() -> None:
    row = {"eager ms": 2.0, "replayed ms": 1.0}
    found = gpu.grid_minutes({"cifar/distill/speed": row, "cifar/jacobian/speed": row, "digits/jacobian/speed": row})
    assert found["eager ms"] == pytest.approx(2 * 2.0 * 16 * 500 * 5 / 60_000)
    assert found["replayed ms"] == pytest.approx(found["eager ms"] / 2)


def test_the_page_is_that_of_what_was_measured(tmp_path: Path) -> None:
    kept = json.loads(gpu_page.JSON.read_text()) if gpu_page.JSON.is_file() else None
    page = gpu_page.markdown.render(gpu_page.page(kept))
    assert gpu_page.JSON.with_suffix(".md").read_text(encoding="utf-8") == page
    if kept is None:
        assert "Nothing has been measured on a GPU yet." in page
