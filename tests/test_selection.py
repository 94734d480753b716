"""The parameters of a task are those that its validation records choose: the choice, made again."""

from __future__ import annotations

from collections import defaultdict
from statistics import mean

import pytest
from conftest import ROOT

from jkbench.plugins import parameters
from jkbench.plugins.discovery import Index
from jkbench.records.select import currency
from jkbench.records.store import Store
from jkbench.tasks import task as tasks

SELECTED = {
    "jacobian": "jac",
    "noise": "sigma",
    "attention": "attention",
    "attention-jacobian": "jac",
    "lwf-jacobian": "jac",
    "jacobian-norm": "norm",
}


WEIGHTS = (0.01, 0.1, 1.0, 10.0, 100.0)
GRIDS = {"jac": WEIGHTS, "attention": WEIGHTS, "norm": WEIGHTS, "sigma": (0.1, 0.2, 0.3, 0.6, 1.0)}
"""The candidates of studies/selection.sh."""
TASKS = {name: tasks.load(name) for name in ("digits-fewshot", "digits-transfer")}
CHOSEN = [(name, method) for name, task in TASKS.items() for method in task.methods]


def candidates(task: tasks.Task, method: str, index: Index) -> dict[float, list[float]]:
    """Validation accuracies by value of the method's selected parameter; all other parameters are the defaults.

    Configurations that `jkbench tune` tried are no candidates: they are other values.
    """
    name = SELECTED[method]
    usual = parameters.validate(index.methods()[method], {})
    found: dict[float, list[float]] = defaultdict(list)
    for record in Store(ROOT / "leaderboard").read(task.name).records.values():
        if record.method != method or record.split != "validation" or not currency(task, index)(record):
            continue
        if {**record.parameters, name: usual[name]} == usual and record.parameters[name] in GRIDS[name]:
            found[record.parameters[name]].append(record.metrics["accuracy"])
    return found


@pytest.mark.parametrize(("task", "method"), CHOSEN)
def test_the_tasks_value_is_the_best_of_five_on_validation(task: str, method: str, index: Index) -> None:
    tried = candidates(TASKS[task], method, index)
    assert len(tried) == 5, "every method is given the same number of candidates"
    assert {len(accuracies) for accuracies in tried.values()} == {6}
    # rounding keeps ties ties: accuracies are counts over the validation images
    best = max(tried, key=lambda value: (round(mean(tried[value]), 9), -value))
    assert TASKS[task].methods[method] == {SELECTED[method]: best}


@pytest.mark.parametrize("task", TASKS)
def test_no_seed_of_the_selection_is_in_the_table(task: str) -> None:
    records = Store(ROOT / "leaderboard").read(task).records.values()
    seeds = {split: {record.seed for record in records if record.split == split} for split in ("validation", "test")}
    assert seeds["validation"]
    assert not seeds["validation"] & seeds["test"]


def test_the_weight_of_act_in_flowers_transfer_is_the_best_of_four_on_validation(index: Index) -> None:
    task = tasks.load("flowers-transfer")
    tried: dict[float, list[float]] = {act: [] for act in (0.001, 0.01, 0.1, 1.0)}  # tuning has tried others since
    scratch: list[float] = []
    for record in Store(ROOT / "leaderboard").read(task.name).records.values():
        if record.split == "validation" and currency(task, index)(record) and record.method in ("lwf", "scratch"):
            of = tried.get(record.parameters["act"]) if record.method == "lwf" else scratch
            if of is not None:
                of.append(record.metrics["accuracy"])
    assert {len(accuracies) for accuracies in tried.values()} == {4}
    best = max(tried, key=lambda value: (round(mean(tried[value]), 9), -value))
    assert {str(parameters["act"]) for parameters in map(dict, task.methods.values())} == {str(best)}
    assert "The best was the smallest that was tried, and lwf with it not above scratch there" in task.selection
    assert best == min(tried)
    assert len(scratch) == len(tried[best])
    assert mean(tried[best]) <= mean(scratch)
    assert tasks.load("flowers-transfer-lite0").methods == task.methods


def test_no_seed_of_the_flowers_selection_is_in_the_table() -> None:
    records = Store(ROOT / "leaderboard").read("flowers-transfer").records.values()
    seeds = {split: {record.seed for record in records if record.split == split} for split in ("validation", "test")}
    assert seeds["validation"] == {100, 101}
    assert not seeds["validation"] & seeds["test"]
