"""A small version of ``python benchmarks/statistics.py``: the rules hold their level on tables drawn at random."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
sys.path.append(str(BENCHMARKS))  # after the standard library, whose `statistics` is not ours

from simulated import others, ties  # noqa: E402


def most(limit: float, draws: int) -> float:
    """A limit with three standard errors of the simulation."""
    return limit + 3 * math.sqrt(limit * (1 - limit) / draws)


@pytest.mark.parametrize("scenario", ["normal", "one noisy", "digits-fewshot", "flowers-transfer"])
def test_equal_rows_rarely_lose_bold_and_the_rejected_rules_take_it(scenario):
    rng, lost = np.random.default_rng(0), {}
    for rows, seeds in ((3, 3), (10, 5), (36, 10)):
        found = ties.lost_bold(rng, scenario, rows, seeds, 2000)
        limit = 0.08 if seeds == 3 and scenario == "flowers-transfer" else 0.06
        assert found["chosen"] <= most(limit, 2000), (rows, seeds)
        lost[rows] = found
    assert lost[36]["pooled Dunnett"] > 0.2
    if scenario == "normal":
        assert lost[36]["t, Holm"] > 0.15
    if scenario == "one noisy":
        assert lost[36]["pooled Tukey"] > 0.15


def test_a_row_far_below_leaves_and_the_best_stays():
    rng = np.random.default_rng(1)
    assert ties.far_stays(rng, "normal", 3, 1000)["chosen"] <= most(0.45, 1000)
    assert ties.far_stays(rng, "normal", 3, 1000)["t, Holm"] > 0.7
    assert ties.far_stays(rng, "normal", 5, 1000)["chosen"] <= 0.10
    assert ties.best_outside(rng, "unequal 1:4", 10, 5, 1000)["chosen"] <= 0.02


def test_false_gains_are_rare_and_five_seeds_find_true_ones():
    rng = np.random.default_rng(2)
    assert others.false_gains(rng, "digits-transfer", 5, 1000)["shrunken t, Holm"] <= most(0.06, 1000)
    assert others.false_gains(rng, "digits-transfer", 6, 300)["sign flips, maximum"] <= most(0.06, 300)
    assert others.false_gains(rng, others.SKEWED, 10, 300)["sign flips, maximum"] > 0.3  # what their docstring warns of
    power = others.found_gains(rng, 5, 400)
    assert power["shrunken t, Holm"] > 0.35
    assert power["sign flips, maximum"] == 0


def test_intervals_over_images_ranks_and_one_more_run_hold_what_they_say():
    rng = np.random.default_rng(3)
    alone, both, wider = others.image_coverage(rng, "images dominate", 10, 300, 150)
    assert alone < 0.85 < 0.91 < both < 0.985
    assert wider > 1.2
    assert 0.91 <= others.rank_coverage(rng, 0.3, 5, 100)["shrunken (chosen)"] <= 0.985
    before, now = others.false_verdicts(rng, "digits-fewshot", 3, 200)
    assert before > 0.12
    assert now <= 0.08


def test_scripts_beside_the_benchmark_still_find_the_standard_librarys_statistics(monkeypatch):
    spec = importlib.util.spec_from_file_location("statistics", BENCHMARKS / "statistics.py")
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "statistics", module)
    spec.loader.exec_module(module)
    assert sys.modules["statistics"].median([1, 2, 9]) == 2
