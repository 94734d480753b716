"""Equal time: every method gets the steps that fit into the time of the dearest, by costs that were measured before."""

from __future__ import annotations

import dataclasses
import json
import textwrap
from pathlib import Path

import pytest
import small
from test_cli import jkbench

from jkbench import planning
from jkbench.engine.trial import run as run_trial
from jkbench.errors import UserError
from jkbench.plugins.discovery import Index, discover
from jkbench.records import costs
from jkbench.records.costs import StepRatio
from jkbench.records.select import currency
from jkbench.records.store import Store
from jkbench.report.checks import disagreements
from jkbench.tasks.task import Task


@pytest.fixture
def index() -> Index:
    return discover()


def equal_time() -> Task:
    return small.task(steps=20, epochs=None, drop_at=15).model_copy(update={"budget": "time"})


def measured(index: Index, **ratios: float) -> dict[str, StepRatio]:
    return {
        name: StepRatio(code=index.methods()[name].code, ratio=ratio, machine="a machine")
        for name, ratio in ratios.items()
    }


def steps(task: Task, index: Index, methods: str, folder: Path) -> dict[str, int | None]:
    plan = planning.make(task, index, methods, seeds=[0], lengths=costs.lengths(task, folder))
    return {trial.row.plugin.name: trial.steps for trial in plan.trials}


def test_each_method_gets_the_steps_that_take_the_dearests_time(index: Index, tmp_path: Path) -> None:
    task = equal_time()
    costs.add(task, tmp_path, task.shots[0], measured(index, scratch=1.0, distill=1.25, jacobian=2.5))
    assert steps(task, index, "scratch,distill,jacobian", tmp_path) == {"scratch": 50, "distill": 40, "jacobian": 20}


def test_a_dearer_method_that_comes_later_moves_no_others_steps(index: Index, tmp_path: Path) -> None:
    task = equal_time()
    costs.add(task, tmp_path, task.shots[0], measured(index, distill=1.0, jacobian=2.0))
    ids = [trial.id for trial in planning.make(task, index, "distill", lengths=costs.lengths(task, tmp_path)).trials]
    costs.add(task, tmp_path, task.shots[0], measured(index, noise=4.0))
    assert steps(task, index, "distill,jacobian,noise", tmp_path) == {"distill": 40, "jacobian": 20, "noise": 10}
    after = planning.make(task, index, "distill", lengths=costs.lengths(task, tmp_path)).trials
    assert [trial.id for trial in after] == ids


def test_the_number_of_steps_is_part_of_a_trials_id_only_where_the_budget_is_time(index: Index, tmp_path: Path) -> None:
    task = equal_time()
    found = set()
    for ratio in (1.0, 2.0):
        folder = tmp_path / str(ratio)
        costs.add(task, folder, task.shots[0], measured(index, distill=1.0, jacobian=ratio))
        found.add(planning.make(task, index, "distill", seeds=[0], lengths=costs.lengths(task, folder)).trials[0].id)
    assert len(found) == 2
    assert costs.lengths(small.task(), tmp_path) is None
    assert equal_time().protocol != small.task(steps=20, epochs=None, drop_at=15).protocol


def test_a_method_that_has_changed_since_has_no_cost(index: Index, tmp_path: Path) -> None:
    task = equal_time()
    (found,) = measured(index, distill=1.0).values()
    costs.add(task, tmp_path, task.shots[0], {"distill": found.model_copy(update={"code": "0" * 16})})
    assert steps(task, index, "distill", tmp_path) == {"distill": None}


def test_a_trial_takes_its_own_steps_and_its_rate_drops_at_the_same_share(index: Index, tmp_path: Path) -> None:
    task = equal_time()
    plan = planning.make(task, index, "scratch", seeds=[0])
    trial = dataclasses.replace(plan.trials[0], steps=40)
    assert (trial.training.steps, trial.training.drop_at) == (40, 30)
    record = run_trial(trial, small.where(tmp_path))
    assert record.cost is not None
    assert record.cost.steps == 40
    short = run_trial(dataclasses.replace(trial, steps=20), small.where(tmp_path))
    assert short.pairing is not None
    assert record.pairing is not None
    assert (short.pairing.subset, short.pairing.initial) == (record.pairing.subset, record.pairing.initial)
    both = [record, short.model_copy(update={"label": "other"})]
    assert not disagreements(task, both)
    assert disagreements(task.model_copy(update={"budget": None}), both)


def test_a_trial_that_ended_early_is_not_stale(index: Index, tmp_path: Path) -> None:
    task = equal_time()
    trial = dataclasses.replace(planning.make(task, index, "scratch", seeds=[0]).trials[0], steps=7)
    record = run_trial(trial, small.where(tmp_path))
    is_current = currency(task, index)
    assert not is_current(record)  # its id is that of other steps
    assert is_current(record.model_copy(update={"status": "diverged"}))
    assert is_current(record.model_copy(update={"status": "failed", "cost": None}))


def test_a_damaged_file_of_costs_is_told(index: Index, tmp_path: Path) -> None:
    task = equal_time()
    file = costs.add(task, tmp_path, task.shots[0], measured(index, distill=1.0))
    file.write_text(file.read_text().replace("1.0", "-1.0", 1))
    with pytest.raises(UserError, match="not what `jkbench profile --keep` writes"):
        costs.lengths(task, tmp_path)


@pytest.mark.parametrize("command", ["plan", "run"])
def test_equal_time_without_costs_is_refused_with_the_command_that_measures_them(
    work: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    words = ("--task", "small.toml", "--methods", "scratch,distill", "--budget", "time")
    code, _, err = jkbench(capsys, command, *words)
    assert code == 2
    assert "the cost of a step is unknown for distill,scratch" in err
    assert "--methods distill,scratch" in err
    assert "--keep" in err


def test_costs_measured_by_profile_give_a_run_its_steps(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--task", "small.toml", "--methods", "scratch,distill", "--budget", "time")
    assert jkbench(capsys, "profile", *words, "--keep")[0] == 0
    code, _, err = jkbench(capsys, "run", *words, "--seeds", "1", "--in-process")
    assert code == 0, err
    records = Store(work / "leaderboard").read("small-budget-time").records.values()
    task = next(iter(records)).task
    kept = costs.Costs.model_validate_json(costs.path_of(work / "leaderboard", task).read_bytes())
    for record in records:
        regime = kept.regimes[str(record.shots)]
        assert record.cost is not None
        expected = max(1, round(small_steps(work) * regime.dearest / regime.methods[record.method].ratio))
        assert record.cost.steps == expected
    assert jkbench(capsys, "leaderboard")[0] == 0
    page = (work / "leaderboard/small-budget-time.md").read_text()
    assert "Equal time:" in page
    assert "ms a step" not in page, "all rows cost the same"
    assert "Inconsistent" not in page


@pytest.mark.processes
def test_what_a_plugin_patches_changes_no_other_methods_cost(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its copy of a number that every step reads is not the next method's."""
    (work / "methods").mkdir(exist_ok=True)
    spoiled = """
        import math, jkbench.engine.profile as there
        from jkbench import Method, Weight, cross_entropy

        class AaaSpoils(Method):
            "Cross-entropy that makes everything measured after it cost nothing."
            ce: Weight = 1.0

            def loss(self, batch, student, teacher):
                there._seconds = lambda run, device, repeats: [1e-9] * repeats
                yield "ce", self.ce * cross_entropy(student.logits, batch.y)
    """
    (work / "methods/aaa_spoils.py").write_text(textwrap.dedent(spoiled))
    words = ("--task", "small.toml", "--methods", "aaa-spoils,jacobian", "--budget", "time")
    assert jkbench(capsys, "profile", *words, "--keep")[0] == 0
    (file,) = (work / "leaderboard/costs").glob("*.json")
    (regime, *_) = json.loads(file.read_text())["regimes"].values()
    assert regime["methods"]["jacobian"]["ratio"] > 1.05, "a step of jacobian costs more than one of cross-entropy"


def small_steps(work: Path) -> int:
    """The steps of the small task's student."""
    import tomllib

    return int(tomllib.loads((work / "small.toml").read_text())["student"]["training"]["steps"])
