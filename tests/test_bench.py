"""One step of each method against a plain cross-entropy step: ``make bench`` prints the ratios. Nothing is asserted
about time; run as a test, it does nothing (benchmarks are skipped)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import small

from jkbench import planning as plan
from jkbench.plugins.discovery import discover
from jkbench.tasks import task as tasks

MEDIANS: dict[str, float] = {}
"""Seconds a step by method; conftest.py prints them as multiples of the cross-entropy step of the same run."""

METHODS = ["scratch", *(name for name in discover().methods() if name != "scratch")]


@pytest.mark.benchmark(group="one step, digits-fewshot, 5 per class", warmup=True, min_rounds=30)
@pytest.mark.parametrize("name", METHODS)
def test_one_step(benchmark: Any, index: Any, references: Path, name: str) -> None:
    fewshot = tasks.load("digits-fewshot")
    teacher = small.task().teacher
    assert teacher is not None
    quick = fewshot.teacher.model_copy(update={"training": teacher.training}) if fewshot.teacher else None
    made = plan.make(fewshot.model_copy(update={"teacher": quick}), index, name, shots=[5], seeds=[0]).trials[0]
    loop, method, *_ = small.loop_of(made, references)
    steps = iter(loop)

    next(steps)
    benchmark(loop.unbudgeted_step, method)
    if benchmark.stats is not None:
        MEDIANS[name] = benchmark.stats.stats.median
