"""Equal tuning: the same draws for every method, on validation images, at seeds of no table; the choice, its page."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from report_factory import few, make_record, make_task
from test_cli import jkbench

import jkbench as suite
from jkbench.errors import UserError
from jkbench.execute import tune
from jkbench.execute.session import Resources
from jkbench.plugins import describe, parameters
from jkbench.plugins.discovery import Index
from jkbench.plugins.ranges import Range
from jkbench.records import choices, select
from jkbench.records.choices import Choice, Choices, Tried, Tuned
from jkbench.records.schema import Record
from jkbench.records.select import currency, pages
from jkbench.records.store import RecordSet, Store
from jkbench.report.leaderboard import document
from jkbench.report.page import compose
from jkbench.statistics import expected_best
from jkbench.tasks import task as tasks

WEIGHT = Range(1e-4, 1e2)
COMMITTED = ROOT / "leaderboard"


def test_the_expected_best_is_the_mean_over_all_draws_with_replacement() -> None:
    """By hand: of 0 and 1, one draw is 1/2, the best of two 3/4. And every one of the 4^4 draws, counted out."""
    assert expected_best([1.0, 0.0]) == pytest.approx([0.5, 0.75])
    values = [0.3, 0.9, 0.4, 0.4]
    counted = [np.mean([max(drawn) for drawn in product(values, repeat=n)]) for n in (1, 2, 3, 4)]
    assert expected_best(values) == pytest.approx(counted)
    assert expected_best([0.7]) == pytest.approx([0.7])
    with pytest.raises(ValueError, match="finite"):
        expected_best([])


def test_a_name_has_its_draws_and_two_names_are_independent() -> None:
    act, jac = tune.draws("act", 10, 1), tune.draws("jac", 10, 1)
    assert act == tune.draws("act", 10, 1)
    assert sorted(int(10 * each) for each in act) == list(range(10)), "each tenth of the range is tried once"
    assert sorted(act) != act
    # two scrambled Sobol or Halton sequences of one base leave quadrants empty
    many = zip(tune.draws("act", 32, 1), tune.draws("jac", 32, 1), strict=True)
    assert min(Counter((x > 0.5, y > 0.5) for x, y in many).values()) >= 3
    assert act != jac
    assert set(act).isdisjoint(tune.draws("act", 10, 2))


def test_all_parameters_move_at_once_and_a_shared_one_has_the_same_values() -> None:
    one = tune.configurations({"ce": 1.0, "act": 1.0}, {"act": WEIGHT}, 8, 1)
    two = tune.configurations({"act": 1.0, "jac": 1.0, "top": 3}, {"act": WEIGHT, "jac": WEIGHT}, 8, 1)
    assert [each["act"] for each in one] == [each["act"] for each in two]
    assert len({each["jac"] for each in two}) == 8
    assert {each["ce"] for each in one} == {1.0}
    whole = tune.configurations({"top": 3}, {"top": Range(1, 9, log=False)}, 5, 1)
    assert all(type(each["top"]) is int and 1 <= each["top"] <= 9 for each in whole)


def test_a_range_has_a_scale_edges_and_is_widened_by_half() -> None:
    assert WEIGHT.value(0.5) == pytest.approx(0.1)
    assert [WEIGHT.side(value, 0.1) for value in (0.0, 1e-4, 3e-4, 1.0, 30.0, 1e3)] == [
        "low", "low", "low", None, "high", "high"
    ]  # fmt: skip
    assert WEIGHT.widened("low") == Range(1e-7, 1e2)
    assert WEIGHT.widened("high") == Range(1e-4, 1e5)
    assert Range(0, 1, log=False).widened("high") == Range(0, 1.5, log=False)
    with pytest.raises(UserError, match="empty or reversed"):
        Range(2, 1)


def test_the_unit_is_not_tuned_unless_its_method_gives_it_a_range(tmp_path: Path) -> None:
    """A loss has one weight too many: Adam's steps do not feel its scale."""
    text = "from jkbench import Method\nclass Mine(Method):\n    UNIT\n    kd: Weight = 1.0\n    ce: Weight = 1.0\n"
    path = tmp_path / "mine.py"
    for unit, tuned in (("unit = 'kd'", {"ce"}), ("unit = 'ce'", {"kd"}), ("ranges = {'ce': (1, 10)}", {"ce", "kd"})):
        path.write_text(text.replace("UNIT", unit))
        assert set(parameters.tunable(describe.read(path, "method", "test"))) == tuned


def tried(act: float, *accuracy: float | None) -> Tried:
    return Tried(parameters={"act": act}, accuracy=accuracy)


def test_ties_go_to_the_default_then_to_the_smaller_and_divergence_loses() -> None:
    every = [tried(1.0, 0.5, 0.7), tried(0.1, 0.6, 0.6), tried(0.01, 0.6, 0.6), tried(10.0, None, 0.9)]

    def best(configurations: list[Tried], per: str = "task") -> list[float]:
        found = choices.choose(configurations, [1, 5], per, {"act": WEIGHT}, 0.1)
        return [choice.parameters["act"] for choice in found]

    assert best(every) == [1.0]
    assert best([tried(1.0, 0.1, 0.1), *every[1:]]) == [0.01]
    assert best(every, "regime") == [0.01, 10.0]
    (choice,) = choices.choose([tried(1e2, 0.9)], [1], "task", {"act": WEIGHT}, 0.1)
    assert choice.edge == {"act": "high"}


def test_what_is_compared_is_the_mean_over_regimes_and_over_clean_and_noisy_images() -> None:
    assert tried(1.0, 0.5, 0.7).mean([0, 1]) == pytest.approx(0.6)
    assert tried(1.0, 0.5, 0.7).mean([1]) == 0.7
    assert tried(1.0, None, 0.7).mean([0, 1]) == 0
    record = make_record(make_task(), "scratch", 1, 0)
    noisy = {"accuracy": 0.5, "accuracy@0.1": 0.3, "nll": 9.0}
    assert choices.score(record.model_copy(update={"metrics": noisy})) == pytest.approx(0.4)
    assert choices.score(record.model_copy(update={"metrics": noisy, "status": "diverged"})) is None


SMALL = ("--task", "small.toml", "--jobs", "1", "--in-process")


def test_a_task_is_tuned_resumed_joined_run_and_shown(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole way: validation records at seeds of no table, a choice, test rows, two pages, never one column."""
    words = ("--budget", "6", "--seeds", "2")
    code, _, err = jkbench(capsys, "tune", "--methods", "distill,scratch", *words, *SMALL)
    assert code == 0, err
    records = Store(work / "leaderboard").read("small").records.values()
    assert {record.split for record in records} == {"validation"}
    assert {record.seed for record in records} == {100, 101}
    # scratch has nothing to tune: 1 configuration; 2 regimes, 2 seeds
    assert Counter(record.method for record in records) == {"distill": 6 * 4, "scratch": 4}
    again = jkbench(capsys, "tune", "--methods", "distill,scratch", *words, *SMALL)
    assert "28 done, 0 to run" in again[2]
    before = json.loads((work / "leaderboard/choices/small.json").read_text())
    code, _, err = jkbench(capsys, "tune", "--methods", "lwf", *words, *SMALL)
    after = choices.read(tasks.load("small.toml"), work / "leaderboard")
    assert after is not None
    assert sorted(after.methods) == ["distill", "lwf", "scratch"]
    assert json.loads(after.model_dump_json())["methods"]["distill"] == before["methods"]["distill"]
    assert [each.parameters["act"] for each in after.methods["lwf"].tried[:4]] == [
        each.parameters["act"] for each in after.methods["distill"].tried[:4]
    ]
    for origin in ("tuned", "default"):
        code, _, err = jkbench(capsys, "run", "--methods", "scratch,distill,lwf", "--parameters", origin, *SMALL)
        assert code == 0, err
    chosen = after.methods["distill"].at(2)
    test = [r for r in Store(work / "leaderboard").read("small").records.values() if r.split == "test"]
    assert chosen in [record.parameters for record in test if record.method == "distill"]
    assert jkbench(capsys, "leaderboard")[0] == 0
    main, tuned = ((work / "leaderboard" / f"{name}.md").read_text() for name in ("small", "small-tuned"))
    assert "distill[" not in main
    assert "best of 6 configurations" in tuned
    assert "Expected best of n configurations" in tuned
    assert "Not tuned" not in tuned
    assert "seeds 100, 101, which no table uses" in tuned
    assert (work / "leaderboard/small-default.md").exists()


def test_tuning_from_python_gives_one_row_a_configuration_and_regime(work: Path) -> None:
    found = suite.tune(
        "small.toml", ["distill"], budget=3, seeds=[100], ranges={"act": (0.5, 2)}, executor="serial", jobs=1
    )
    assert list(found["configuration"]) == [0, 0, 1, 1, 2, 2]
    assert list(found["shots"]) == [2, 4] * 3
    assert found["chosen"].sum() == 2
    drawn = [each["act"] for each in found["parameters"][2:]]
    assert all(0.5 <= act <= 2.9 for act in drawn)
    tested = suite.run("small.toml", ["distill"], seeds=1, parameters="tuned", executor="serial", jobs=1)
    assert list(tested["parameters"]) == list(found[found["chosen"]]["parameters"])
    with pytest.raises(UserError, match="0 is not a number of configurations"):
        suite.tune("small.toml", "distill", budget=0)


def rising(monkeypatch: pytest.MonkeyPatch, wanted: list[dict[str, Any]]) -> None:
    """In place of training: the accuracy rises with act."""

    def results(tuning: Any, configurations: Any, resources: Any, show: bool) -> dict[str, list[Tried]]:
        wanted.append(configurations)
        return {
            name: [Tried(parameters=each, accuracy=(each.get("act", 1.0) / 1e6,) * 2) for each in every]
            for name, every in configurations.items()
        }  # fmt: skip

    monkeypatch.setattr(tune, "_tried", results)


def test_a_winner_at_the_edge_widens_its_range_once_within_the_same_budget(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted: list[dict[str, Any]] = []
    rising(monkeypatch, wanted)
    found = tune.tune(tune.make("small.toml", "distill,lwf,noise,scratch", 12), Resources(), show=False)
    first, second = wanted
    assert {name: len(every) for name, every in first.items()} == {"distill": 8, "lwf": 8, "noise": 8, "scratch": 1}
    assert {name: len(every) for name, every in second.items()} == {"distill": 12, "lwf": 12, "noise": 12, "scratch": 1}
    assert max(each["act"] for each in first["distill"]) <= 100 < max(each["act"] for each in second["distill"])
    assert found.methods["distill"].widened == {"act": (1e-4, 1e5)}
    assert found.methods["distill"].chosen[0].edge in ({"act": "high"}, {})
    assert any("act=" in line for line in choices.lines(found))
    assert found.name == "tuned@12"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--budget", "0"], "0 is not a number of configurations"),
        (["--budget", "-2"], "-2 is not a number of configurations"),
        (["--split", "test"], "never chosen on test images"),
        (["--range", "act=1:1"], "empty or reversed"),
        (["--range", "act=10:1"], "empty or reversed"),
        (["--range", "act=0:1"], "must begin above 0"),
        (["--range", "act"], "not NAME=LOW:HIGH"),
        (["--range", "depth=1:2"], "no method here has a tunable parameter 'depth'"),
        (["--range", "ce=1:2"], "no method here has a tunable parameter 'ce'"),
        (["--seeds", "1,100"], "the table of small uses seed 1"),
        (["--methods", "distill[act=2]"], "name methods without brackets"),
        (["--methods", "distil"], "did you mean 'distill'"),
        (["--task", "no-validation.toml"], "data set 'bare' has no 'validation' split"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(
    work: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    (work / "datasets").mkdir()
    (work / "datasets/bare.py").write_text(
        '"""T."""\nimport numpy as np\nfrom jkbench import Dataset, Split\n\nclass Bare(Dataset):\n'
        '    classes = ("a", "b", "c")\n\n    def load(self, *more):\n'
        "        part = Split(np.zeros((9, 8, 8, 1), np.uint8), np.arange(9) % 3)\n"
        '        return {"train": part, "test": part}\n'
    )
    text = (work / "small.toml").read_text().replace('"small"', '"no-validation"')
    text = text.replace('"digits", classes = [0, 1, 2]', '"bare"')
    (work / "no-validation.toml").write_text(text)
    code, _, err = jkbench(capsys, "tune", "--methods", "distill", *SMALL, *arguments)
    assert code == 2
    assert told in err
    assert len(err.splitlines()) <= 3, err
    assert not Store(work / "leaderboard").tasks()


def test_what_was_not_tuned_alike_is_refused(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rising(monkeypatch, [])
    tune.tune(tune.make("small.toml", "distill", 4), Resources(), show=False)
    assert "was made with another budget" in jkbench(capsys, "tune", "--methods", "lwf", "--budget", "5", *SMALL)[2]
    assert (
        "lwf was not tuned on small" in jkbench(capsys, "run", "--methods", "lwf", "--parameters", "tuned", *SMALL)[2]
    )


def test_a_page_says_which_rows_were_never_tuned() -> None:
    """A plugin's row on a task whose sentence says that parameters were selected."""
    chosen = few()
    mine = [make_record(chosen.task, "mine[tau=4]", 1, seed) for seed in range(3)]
    page = compose(replace(chosen, records=[*chosen.records, *mine]))
    (told,) = [sentence for sentence in page.protocol if sentence.startswith("Not tuned")]
    assert "`mine[tau=4]`" in told


def test_default_and_tuned_rows_never_share_a_page(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select, "currency", lambda task, index: lambda record: True)  # made-up records, made-up ids
    task = make_task(shots=[1, 5])
    own, best = {"ce": 1.0, "act": 1.0}, {"ce": 1.0, "act": 0.01}
    chosen = Choice(shots=(1, 5), parameters=best, accuracy=0.6, edge={})
    every = (Tried(parameters=own, accuracy=(0.5, 0.5)), Tried(parameters=best, accuracy=(0.6, 0.6)))
    tuned = Tuned(code="", ranges={"act": (1e-4, 1e2)}, widened={}, tried=every, chosen=(chosen,))
    found = Choices(
        task=task.name, protocol=task.protocol, per="task", budget=2, shots=(1, 5), seeds=(100,),
        methods={"distill": tuned},
    )  # fmt: skip
    records: RecordSet[Record] = RecordSet()
    for label, values in (("distill", own), ("distill[act=0.01]", best), ("distill[act=0.3]", {**own, "act": 0.3})):
        for seed in range(2):
            records.add(make_record(task, label, 1, seed, parameters=values))
    labels = {each.name: {r.parameters["act"] for r in each.records} for each in pages(task, index, records, found)}
    assert labels == {"digits-fewshot": {1.0, 0.3}, "digits-fewshot-default": {1.0}, "digits-fewshot-tuned": {0.01}}
    (page,) = [page for page in pages(task, index, records, found) if page.origin == "tuned"]
    assert {record.label for record in page.records} == {"distill"}
    assert document(compose(page)).name == "digits-fewshot-tuned"
    assert compose(page).task.protocol == task.protocol


def test_how_a_task_is_tuned_moves_no_hash() -> None:
    task = make_task()
    assert make_task(tuning="regime").protocol == task.protocol


@pytest.mark.parametrize("path", sorted((COMMITTED / "choices").glob("*.json")), ids=lambda path: path.stem)
def test_a_committed_choice_is_the_best_of_its_validation_records(path: Path, index: Index) -> None:
    """Made again from the records alone, with no code of the choice's."""
    task, content = tasks.load(path.stem), json.loads(path.read_text())
    assert content["protocol"] == task.protocol
    is_current, found = currency(task, index), Store(COMMITTED).read(task.name).records.values()
    used = {record.seed for record in found if record.split == "test"}
    assert not used & set(content["seeds"])
    scores: dict[tuple[str, str], list[float]] = {}
    for record in found:
        wanted = record.seed in content["seeds"] and record.shots in content["shots"]
        if record.split == "validation" and wanted and is_current(record):
            values = [value for name, value in record.metrics.items() if name.startswith("accuracy")]
            key = (record.method, json.dumps(record.parameters, sort_keys=True))
            scores.setdefault(key, []).append(float(np.mean(values)) if record.status == "ok" else -99.0)
    counts = {len(each["tried"]) for each in content["methods"].values()}
    assert counts <= {1, content["budget"]}, "every method has the same number of configurations"
    for name, tuned in content["methods"].items():
        tried = [json.dumps(each["parameters"], sort_keys=True) for each in tuned["tried"]]
        means = [np.mean(scores[name, each]) for each in tried]
        assert {len(scores[name, each]) for each in tried} == {len(content["seeds"]) * len(content["shots"])}
        assert content["per"] == "task"
        (choice,) = tuned["chosen"]
        best = means[tried.index(json.dumps(choice["parameters"], sort_keys=True))]
        assert best == pytest.approx(max(max(means), 0.0), abs=2e-9)
