"""Plans: ids that mean the same trial, and all that is wrong with a command told at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from test_store import record

from jkbench import planning as plan
from jkbench.cli import options
from jkbench.errors import UserError
from jkbench.plugins.discovery import Index
from jkbench.records import select
from jkbench.records.store import RecordSet
from jkbench.tasks import task as tasks

FEWSHOT = tasks.load("digits-fewshot")


def test_all_methods_on_distillation_and_the_reasons_elsewhere(index: Index) -> None:
    assert len(plan.make(FEWSHOT, index).trials) == len(index.methods()) * 4 * FEWSHOT.seeds
    transfer = plan.make(tasks.load("digits-transfer"), index)
    assert {row.plugin.name for row in transfer.rows} == set(index.methods()) - set(transfer.not_applicable)
    assert "lwf" in transfer.not_applicable["distill"]
    assert "labels" in transfer.not_applicable["funmatch"]
    noise = plan.make(tasks.load("digits-noise"), index)
    assert [row.label for row in noise.rows] == [
        "jacobian-norm[norm=0.01]", "jacobian-norm[norm=0.1]", "jacobian-norm[norm=0.5]", "jacobian-norm[norm=1]",
        "label-smoothing", "noise[sigma=0.2]", "noise[sigma=0.4]", "scratch", "tf-kd",
    ]  # fmt: skip
    assert "no" in noise.not_applicable["lwf"]


def test_ids_are_distinct_stable_and_of_all_that_matters(index: Index) -> None:
    trials = plan.make(FEWSHOT, index).trials
    ids = [trial.id for trial in trials]
    assert len(set(ids)) == len(ids)
    assert ids == [trial.id for trial in plan.make(FEWSHOT, index).trials]
    assert set(ids).isdisjoint(trial.id for trial in plan.make(FEWSHOT, index, split="validation").trials)
    longer = FEWSHOT.student.training.model_copy(update={"steps": 301})
    changed = FEWSHOT.model_copy(update={"student": FEWSHOT.student.model_copy(update={"training": longer})})
    assert set(ids).isdisjoint(trial.id for trial in plan.make(changed, index).trials)
    other_code = replace(index.methods()["distill"], code="0" * 16)
    altered = Index({**index.plugins, "method": {**index.methods(), "distill": other_code}})
    same = set(ids) & {trial.id for trial in plan.make(FEWSHOT, altered).trials}
    assert len(same) == len(ids) - 4 * FEWSHOT.seeds


def test_the_same_parameters_written_otherwise_are_the_same_trial(index: Index) -> None:
    def ids(text: str) -> list[str]:
        return [trial.id for trial in plan.make(FEWSHOT, index, text).trials]

    usual = plan.make(FEWSHOT, index, "jacobian").rows[0].parameters
    assert ids("jacobian") == ids(f"jacobian[jac={usual['jac']}]") == ids(f"jacobian[jac={usual['jac']}],jacobian")
    assert set(ids("jacobian")).isdisjoint(ids("jacobian[jac=0.123]"))
    assert plan.make(FEWSHOT, index, "jacobian[jac=0.123]").rows[0].label == "jacobian[jac=0.123]"


def test_named_where_it_does_not_apply_is_refused_but_skipped_under_all(index: Index) -> None:
    transfer = tasks.load("digits-transfer")
    with pytest.raises(UserError, match="distill is not defined on transfer tasks"):
        plan.make(transfer, index, "distill")
    assert "distill" in plan.make(transfer, index, "all").not_applicable


def test_all_problems_of_a_command_are_told_at_once(nowhere: Path) -> None:
    with pytest.raises(UserError) as caught:
        options.make_plan("digits-fewshots", "jacobain,distill[akt=1]", (), "1,x", "0", nowhere)
    told = str(caught.value)
    for part in ("'digits-fewshot'", "'jacobian'", "'act'", "--shots", "--seeds"):
        assert part in told, told
    with pytest.raises(UserError) as caught:
        options.make_plan("digits-fewshot", "jacobain,distill[act=-1],distill[akt=1]", (), None, None, nowhere)
    for part in ("'jacobian'", "greater than or equal to 0", "'act'"):
        assert part in str(caught.value)


def test_a_task_with_a_wrong_method_parameter_is_refused(index: Index) -> None:
    changed = FEWSHOT.model_copy(update={"methods": {"jacobian": {"jak": 1}}})
    with pytest.raises(UserError, match=r"digits-fewshot: methods\.jacobian: there is no parameter 'jak'"):
        plan.make(changed, index)


@pytest.mark.parametrize(
    ("text", "seeds"), [("3", [0, 1, 2]), ("7,2", [7, 2]), ("10-12", [10, 11, 12]), ("0,5-6", [0, 5, 6]), (None, None)]
)
def test_seeds_are_read(text: str | None, seeds: list[int] | None) -> None:
    assert options.parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["0", "a", "3-1", "1,", "-2"])
def test_wrong_seeds_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="--seeds"):
        options.parse_seeds(text)


def test_shots_are_read() -> None:
    assert options.parse_shots("1, full,5,1") == [1, "full", 5]
    for wrong in ("0", "x", ",", "1.5"):
        with pytest.raises(UserError, match="--shots"):
            options.parse_shots(wrong)


def test_a_task_that_names_what_is_not_there_is_refused(index: Index) -> None:
    wrong = FEWSHOT.model_copy(update={"methods": {"jacobain": {}}, "baseline": "scrach"})
    with pytest.raises(UserError) as caught:
        plan.make(wrong, index)
    assert "'jacobian'" in str(caught.value)
    assert "'scratch'" in str(caught.value)


def test_a_record_is_named_by_the_present_task(index: Index) -> None:
    """The task's usual weight changes and changes back: no row ever holds two sets of parameters."""
    from test_store import record

    from jkbench.records.select import choose
    from jkbench.records.store import RecordSet

    loaded = RecordSet()
    for weight in (10.0, 0.5):
        then = FEWSHOT.model_copy(update={"methods": {"jacobian": {"jac": weight}}})
        for trial in plan.make(then, index, "jacobian", shots=[1], seeds=range(3)).trials:
            loaded.add(
                record(
                    id=trial.id,
                    task=FEWSHOT.name,
                    protocol=FEWSHOT.protocol,
                    method="jacobian",
                    label="jacobian",
                    parameters=trial.row.parameters,
                    shots=1,
                    seed=trial.seed,
                )
            )
    for weight, other in ((10.0, "jacobian[jac=0.5]"), (0.5, "jacobian[jac=10]")):
        now = FEWSHOT.model_copy(update={"methods": {"jacobian": {"jac": weight}}})
        rows: dict[str, set[float]] = {}
        for one in choose(now, index, loaded).records:
            rows.setdefault(one.label, set()).add(one.parameters["jac"])
        assert rows == {"jacobian": {weight}, other: {float(other[13:-1])}}


def test_the_records_of_a_page_are_named_without_checking_their_parameters_again(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The border is the plan: a page of a thousand records validates no more than a page of ten."""
    calls = []
    validate = plan.plugin_parameters.validate
    monkeypatch.setattr(plan.plugin_parameters, "validate", lambda *given: calls.append(given) or validate(*given))

    def checked(count: int) -> int:
        calls.clear()
        made = [record(id=f"{n:016x}", task="digits-fewshot", method="jacobian", seed=n) for n in range(count)]
        select.choose(FEWSHOT, index, RecordSet({each.id: each for each in made}))
        return len(calls)

    assert checked(1) == checked(200)
