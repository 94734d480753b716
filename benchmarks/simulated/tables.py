"""Tables drawn at random: (draws, rows, seeds), rows of equal mean, in units of a row's deviation over seeds."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jkbench.records.store import Store
from jkbench.statistics.groups import mean_pair_variance

Floats = NDArray[np.float64]

ROOT = Path(__file__).parents[2]
REAL = ("digits-fewshot", "digits-transfer", "flowers-transfer", "cifar100-fewshot-early")
MADE = ("normal", "unequal 1:4", "unequal 1:10", "one noisy", "t4 tails")


@lru_cache
def residuals(task: str) -> tuple[Floats, ...]:
    """What rows' own means leave of a task's accuracies, a regime each: (rows, seeds), unit mean variance of rows.

    Scaled such that ``z @ residuals`` of standard normal z (seeds) has the covariance of the records.
    """
    cells: dict[str, dict[str, dict[int, float]]] = {}
    for record in Store(ROOT / "leaderboard").read(task).records.values():
        if record.split == "test" and record.status == "ok" and not record.reference:
            cells.setdefault(str(record.shots), {}).setdefault(record.label, {})[record.seed] = record.metrics[
                "accuracy"
            ]
    found = []
    for _, rows in sorted(cells.items()):
        seeds = max((frozenset(values) for values in rows.values()), key=lambda s: (len(s), sorted(s)))
        block = np.array([[values[s] for s in sorted(seeds)] for values in rows.values() if seeds <= values.keys()])
        block = np.unique(block, axis=0)
        if len(block) > 2 and block.shape[1] > 2:
            rest = block - block.mean(axis=1, keepdims=True)
            found.append(rest / math.sqrt(mean_pair_variance(block) / 2 * (block.shape[1] - 1)))
    return tuple(found)


def equal_rows(rng: np.random.Generator, scenario: str, rows: int, seeds: int, draws: int) -> Floats:
    """Tables (draws, rows, seeds) whose rows have one mean.

    A task's name: normal with the covariance of its records, rows drawn at random from one regime at a time; more rows
    than a regime has are taken from several regimes, scaled to one variance.
    """
    if scenario in MADE:
        if scenario == "t4 tails":
            return rng.standard_t(4, (draws, rows, seeds)) / math.sqrt(2)
        spread = np.ones(rows)
        if scenario.startswith("unequal"):
            spread = np.geomspace(1, float(scenario.rpartition(":")[2]), rows)
        elif scenario == "one noisy":
            spread[0] = 4
        return rng.normal(size=(draws, rows, seeds)) * (spread / np.sqrt(np.mean(spread**2)))[:, None]
    regimes, tables = residuals(scenario), []
    share = -(-draws // len(regimes))
    for first in range(len(regimes)):
        chosen = [regimes[first]]
        while sum(map(len, chosen)) < rows:
            chosen.append(regimes[(first + len(chosen)) % len(regimes)])
        drawn = np.concatenate([rng.normal(size=(share, seeds, r.shape[1])) @ r.T for r in chosen], axis=2)
        order = rng.permuted(np.tile(np.arange(drawn.shape[2]), (share, 1)), axis=1)[:, None, :rows]
        table = np.take_along_axis(drawn, order, axis=2).transpose(0, 2, 1)
        tables.append(table / np.sqrt(mean_pair_variance(table).mean() / 2))
    return rng.permutation(np.concatenate(tables))[:draws]
