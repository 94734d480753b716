"""The paper's tables beside ours: the published numbers as printed, verdicts no stronger than the interval."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
import torch
from paper_tables import PAPER, records, render, table, the_only
from scipy import stats

from jkbench import planning as plan
from jkbench.papers import figure as paper_figure
from jkbench.papers import table as papers
from jkbench.papers.compare import PaperDifference, Read, compare
from jkbench.planning import record_fields
from jkbench.plugins.discovery import Index
from jkbench.records.schema import Cost, Record
from jkbench.records.store import RecordSet
from jkbench.statistics import Interval, mean_interval, prediction_intervals
from jkbench.tasks import task as tasks


def test_the_published_numbers_are_the_papers() -> None:
    """Facts of the paper that its text states (design, section 4)."""
    numbers = table("cifar100").numbers
    gains = [numbers["ce+act+jac", k] - numbers["ce+act", k] for k in ("1", "5", "10", "50", "100", "500")]
    assert gains == pytest.approx([1.65, 6.42, 5.63, 3.02, 1.51, -2.08])
    assert len(numbers) == 36
    assert table("noise").numbers["0", "0"] == 64.78
    for chosen in (chosen for chosen in PAPER.tables.values() if chosen.published):
        assert {row for row, _ in chosen.numbers} == set(chosen.methods)


@pytest.mark.parametrize("name", list(PAPER.tables))
def test_every_row_is_a_method_of_its_task(name: str, index: Index) -> None:
    chosen = table(name)
    for task in (chosen.task, *chosen.stands_in):
        used = tasks.load(task)
        page = compare(chosen, used, index, RecordSet())
        for read in page.readings:
            assert len(set(read.labels.values())) == len(chosen.methods)
            assert not read.not_here or task != chosen.task, "the table's own task runs all of its rows"
        columns = chosen.columns(used.shots)
        if chosen.column == "per_class" and task == chosen.task:
            assert [str(shots) for shots in used.shots] == columns
        if chosen.column == "noise_std":
            assert [0.0, *used.evaluation.noise] == [float(column) for column in columns]


def test_an_empty_page_counts_what_is_missing(index: Index) -> None:
    page = compare(table("cifar100"), tasks.load("cifar100-fewshot"), index, RecordSet())
    assert the_only(page).run == 0
    text = render(page)
    assert "0 of 36 cells of the paper's table have been run" in text
    assert "Nothing has been run yet." in text
    assert "holds" not in text.split("## Protocol")[0].split("Sign: *holds*")[0]


def test_cells_gains_and_verdicts(index: Index) -> None:
    drawn = random.Random(0)
    plain = [27 + drawn.gauss(0, 0.5) for _ in range(5)]
    better = [value + 6.4 + drawn.gauss(0, 0.3) for value in plain]
    cells = {("ce+act", "5"): plain, ("ce+act+jac", "5"): better, ("ce", "5"): [13.0]}
    page = compare(table("cifar100"), tasks.load("cifar100-fewshot"), index, records(index, "cifar100", cells))
    read = the_only(page)
    assert read.run == 3
    (cell,) = [c for c in read.cells if (c.row, c.column) == ("ce+act+jac", "5")]
    assert cell.published == 33.39
    assert cell.ours is not None
    half = stats.t.ppf(0.975, 4) * np.std(better, ddof=1) / 5**0.5
    assert (cell.ours.mean, cell.ours.half_width) == pytest.approx((np.mean(better), half))
    assert cell.difference == pytest.approx(np.mean(better) - 33.39)
    (gain,) = [g for g in read.gains if (g.row, g.over, g.column) == ("ce+act+jac", "ce+act", "5")]
    assert gain.ours is not None
    paired = np.subtract(better, plain)
    assert gain.ours.mean == pytest.approx(paired.mean())
    assert gain.ours.half_width == pytest.approx(stats.t.ppf(0.975, 4) * paired.std(ddof=1) / 5**0.5)
    assert (gain.published, gain.sign, gain.size) == (pytest.approx(6.42), "holds", "holds")
    text = render(page)
    assert "3 of 36 cells" in text
    assert f"{np.mean(better):.2f} ± {half:.2f}" in text
    assert text == render(page)


def test_a_page_says_how_long_its_empty_cells_take(index: Index) -> None:
    """Steps of the row, else of its method: 500 epochs of 100 classes in batches of 64, five seeds each."""
    used = tasks.load("cifar100-fewshot")
    done = records(index, "cifar100", {("ce", "5"): [13.0, 14.0], ("ce+act+jac", "5"): [30.0]})
    for record, seconds in zip(list(done.records.values()), (10.0, 30.0, 80.0), strict=True):
        cost = Cost(seconds=seconds, step_ms=1, steps=40, peak_memory_mb=1, trainable_parameters=1, alone=True)
        done.records[record.id] = record.model_copy(update={"cost": cost})
    assert compare(table("cifar100"), used, index, done).missing == []  # nothing timed a step of distill
    (trial,) = plan.make(used, index, "distill[ce=0]", shots=[1], seeds=[0]).trials
    cost = Cost(seconds=4, step_ms=1, steps=4, peak_memory_mb=1, trainable_parameters=1, alone=True)
    other = Record(**{**record_fields(trial), "status": "ok", "metrics": {"accuracy": 0.1}, "cost": cost})
    page = compare(table("cifar100"), used, index, done, [other])
    at = {each.shots: each for each in page.missing}
    assert list(at) == [1, 5, 10, 50, 100, 500]
    assert (at[1].trials, at[5].trials) == (30, 20)
    scratch, distill, jacobian = 0.5, 1.0, 2.0  # seconds a step
    assert at[1].seconds == pytest.approx(5 * 500 * 2 * (scratch + 2 * distill + 3 * jacobian))
    assert at[5].seconds == pytest.approx(5 * 500 * 8 * (2 * distill + 2 * jacobian))
    assert "33 h 20 min" in render(page)


@pytest.mark.parametrize(
    ("published", "ours", "sign", "size"),
    [
        (2.0, Interval(1.5, 1.0, 3), "holds", "holds"),
        (2.0, Interval(0.9, 0.5, 3), "holds", "below"),
        (2.0, Interval(3.0, 0.5, 3), "holds", "above"),
        (2.0, Interval(-1.5, 1.0, 3), "does not hold", "below"),
        (-2.0, Interval(-4.5, 1.0, 3), "holds", "below"),
        (-2.0, Interval(-1.5, 1.0, 3), "holds", "holds"),
        (2.0, Interval(0.5, 1.0, 3), "not resolved", "below"),
        (0.5, Interval(0.5, 1.0, 3), "not resolved", "not resolved"),  # neither zero nor the published is excluded
        (2.0, Interval(1.9, None, 1), "not resolved", "not resolved"),
        (2.0, None, "not run", "not run"),
    ],
)
def test_verdicts_are_no_stronger_than_the_interval(
    published: float, ours: Interval | None, sign: str, size: str
) -> None:
    gain = PaperDifference("a", "5", published, ours, over="b", predicted=ours)
    assert (gain.sign, gain.size) == (sign, size)


def test_a_perfect_replication_is_seldom_judged_below_or_above() -> None:
    """One published run of our own distribution: an interval of our mean alone refuses every third of them."""
    generator, refused, before = np.random.default_rng(0), 0, 0
    for _ in range(400):
        published, *ours = generator.normal(2.0, 1.0, 6)
        mean, (predicted,) = mean_interval(ours), prediction_intervals([ours])
        refused += PaperDifference("a", "5", published, mean, over="b", predicted=predicted).size in ("below", "above")
        before += PaperDifference("a", "5", published, mean, over="b", predicted=mean).size in ("below", "above")
    assert refused < 0.08 * 400 < 0.25 * 400 < before


def test_a_published_difference_is_held_against_one_more_paired_run(index: Index) -> None:
    cells = {("ce", "5"): [10.0, 11.0, 12.0], ("ce+jac", "5"): [12.0, 13.1, 14.6], ("ce+act", "5"): [11.0, 14.0, 12.0]}
    page = compare(table("cifar100"), tasks.load("cifar100-fewshot"), index, records(index, "cifar100", cells))
    gains = {(gain.row, gain.over): gain for gain in the_only(page).gains if gain.column == "5" and gain.ours}
    measured = {(a, b): np.subtract(cells[a, "5"], cells[b, "5"]) for a, b in gains}
    pooled = np.mean([d.var(ddof=1) for d in measured.values()])
    for pair, differences in measured.items():
        variance = (4 * pooled + 2 * differences.var(ddof=1)) / 6
        found = gains[pair].predicted
        assert found is not None
        assert found.mean == pytest.approx(differences.mean())
        degrees = min(6.0, 2 * min((len(measured) + 1) / 2, 8 / 3))
        half = stats.t.ppf(0.975, degrees) * np.sqrt(variance * 4 / 3)
        assert found.half_width == pytest.approx(half)


def test_verdicts_are_counted_in_words(index: Index) -> None:
    cells = {("ce", "5"): [10.0, 11.0, 12.0], ("ce+jac", "5"): [12.0, 13.1, 14.2]}
    text = render(compare(table("cifar100"), tasks.load("cifar100-fewshot"), index, records(index, "cifar100", cells)))
    assert "Of these 18 differences: the sign holds in 1; the size is below in 1; 17 have not been run." in text
    assert "Of these 18 differences: 18 have not been run." in render(
        compare(table("cifar100"), tasks.load("cifar100-fewshot"), index, RecordSet())
    )


def test_an_error_that_the_paper_prints_stands_beside_its_number(index: Index) -> None:
    page = compare(table("noise"), tasks.load("cifar100-noise"), index, RecordSet())
    text = render(page)
    assert "61.90 ± 0.07" in text
    assert "with a ± where the paper prints one, which it does not explain" in text
    assert "64.78 |" in text
    assert {gain.column for gain in the_only(page).gains} == {"0.1", "0.2", "0.3", "0.4"}
    cifar = render(compare(table("cifar100"), tasks.load("cifar100-fewshot"), index, RecordSet()))
    assert "one number per cell, without an interval" in cifar


def test_accuracy_under_noise_reads_the_noisy_metrics(index: Index) -> None:
    cells = {("0", "0.3"): [30.0, 31.0, 29.0], ("1.0", "0.3"): [47.0, 48.5, 46.5]}
    page = compare(table("noise"), tasks.load("cifar100-noise"), index, records(index, "noise", cells))
    (gain,) = [g for g in the_only(page).gains if (g.row, g.over, g.column) == ("1.0", "0", "0.3")]
    assert gain.ours is not None
    assert gain.ours.mean == pytest.approx(np.mean([17, 17.5, 17.5]))
    assert gain.sign == "holds"


def test_a_task_that_stands_in_says_so(index: Index) -> None:
    cells = {("ce", "5"): [13.0, 14.0]}
    loaded = records(index, "cifar100", cells, task="cifar100-fewshot-short")
    page = compare(table("cifar100"), tasks.load("cifar100-fewshot-short"), index, loaded)
    assert page.stands_in
    assert "Another protocol than the paper's" in render(page)
    assert (
        compare(table("cifar100"), tasks.load("cifar100-fewshot"), index, loaded).readings[0].run == 0
    )  # never one table


def test_readings_of_one_task_stand_apart_on_one_page(index: Index) -> None:
    early, chosen, loaded = tasks.load("cifar100-fewshot-early"), table("cifar100"), RecordSet()
    accuracies = {"distill": 20, "jacobian": 30, "jacobian[jac=100]": 26, "distill[act=0.01]": 19}
    for label, value in accuracies.items():
        for seed in range(3):
            (trial,) = plan.make(early, index, label, shots=[5], seeds=[seed]).trials
            metrics = {"accuracy": (value + seed * (label != "distill")) / 100}
            loaded.records[trial.id] = Record(**{**record_fields(trial), "status": "ok", "metrics": metrics})
    page = compare(chosen, early, index, loaded)
    ones, hundred, mean = page.readings
    assert [read.name for read in page.readings] == ["all-ones", "jacobian-100", "mean-of-classes"]
    assert [read.run for read in page.readings] == [2, 2, 1]

    def gain(read: Read) -> float | None:
        (found,) = [g for g in read.gains if (g.row, g.over, g.column) == ("ce+act+jac", "ce+act", "5")]
        return found.ours and found.ours.mean

    assert (gain(ones), gain(hundred), gain(mean)) == (pytest.approx(11), pytest.approx(7), None)
    assert hundred.changed == ["ce+jac", "ce+act+jac", "act+jac"]
    assert (ones.changed, ones.labels) == ([], chosen.methods)
    assert mean.labels["ce"] == "scratch"
    text = render(page)
    assert "`ce+act+jac` as `jacobian[jac=100]`" in text
    assert "1 of 36 cells of the paper's table have been run in the reading `mean-of-classes`" in text
    beside = text.split("## Readings side by side")[1].split("## Reading `all-ones`")[0]
    (line,) = [line for line in beside.splitlines() if line.startswith("| `")]
    assert [part.strip() for part in line.split("|")[1:-1]] == [
        "`ce+act+jac` − `ce+act`", "5", "+6.42", "+11.00 ± 2.48 (n = 3)", "+7.00 ± 2.48 (n = 3)", "",
    ]  # fmt: skip
    assert "the Jacobian's weighs 100, the others 1" in text
    assert "`act` the squared error between" in text
    assert text.count("### Accuracy in %") == 3
    assert text.count("## Protocol") == 1
    panel = paper_figure.draw(page).axes[0]
    places = [float(container.lines[0].get_xydata()[0][0]) for container in panel.containers]
    assert places[0] < 1 <= places[1], "readings stand beside each other"
    # elsewhere nothing is read otherwise
    assert chosen.readings_of("cifar100-fewshot") == chosen.readings_of("cifar100-fewshot-short") == [None]
    assert chosen.methods_of("cifar100-fewshot") == chosen.methods
    assert "Readings side by side" not in render(compare(chosen, tasks.load("cifar100-fewshot"), index, RecordSet()))


@pytest.mark.parametrize(
    ("readings", "complaint"),
    [
        ({"cifar100-fewshot-early": {"x": {"says": "", "methods": {"ce+act+jack": "jacobian"}}}}, "ce.act.jack"),
        ({"elsewhere": {}}, "elsewhere"),
    ],
)
def test_readings_are_of_rows_and_tasks_that_are_there(readings: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        papers.PaperTable.model_validate({**table("cifar100").model_dump(), "readings": readings})


def test_numbers_from_memory_are_marked_and_so_are_rows_that_cannot_be_run(index: Index) -> None:
    text = render(compare(table("mit67"), tasks.load("mit67-transfer"), index, RecordSet()))
    assert "11.64 (recalled)" in text
    assert "35.19 " in text
    assert "35.19 (recalled)" not in text
    assert "*recalled*: written down from memory" in text
    assert "`ce (pre-trained student, oracle)` cannot be run here: finetune is not defined on transfer tasks" in text
    assert "vgg-9 has no weights trained on" in text
    page = compare(table("mit67"), tasks.load("mit67-transfer"), index, RecordSet())
    marked = {(gain.row, gain.column) for gain in the_only(page).gains if gain.recalled}
    assert marked == {(gain.row, gain.column) for gain in the_only(page).gains if gain.column in ("5", "10")}
    assert text.count("(recalled) |") == 12 + len(marked)
    assert "recalled" not in render(compare(table("cifar100"), tasks.load("cifar100-fewshot"), index, RecordSet()))


def test_a_table_without_published_numbers_has_the_tasks_regimes(index: Index) -> None:
    cells = {("attention, depth 2", "10"): [50.0, 51.0], ("ce+act (LwF)", "10"): [48.0, 49.5]}
    page = compare(table("depth"), tasks.load("flowers-transfer"), index, records(index, "depth", cells))
    assert (the_only(page).run, len(the_only(page).cells)) == (2, 9 * 3)
    (gain,) = [g for g in the_only(page).gains if (g.row, g.column) == ("attention, depth 2", "10")]
    assert gain.published is None
    assert gain.ours is not None
    assert gain.ours.mean == pytest.approx(1.75)
    assert (gain.sign, gain.size) == ("not resolved", "not resolved")
    text = render(page)
    assert "None of the paper's numbers for this table is available" in text
    assert "published" not in text
    assert not gain.resolved  # of two seeds
    (line,) = [line for line in text.splitlines() if line.startswith("| `attention, depth 2` −") and "+1.75" in line]
    assert line.endswith("no |")


def test_a_common_factor_of_all_terms_changes_nothing(index: Index, references: Path) -> None:
    """Why a reading may take the rows without cross-entropy of another: Adam divides the factor out."""

    def trained(method: str) -> torch.Tensor:
        loop, plugin, student, _ = small.loop_of(small.trial(index, method, steps=20), references)
        before = torch.cat([weight.detach().flatten() for weight in student.parameters()])
        plugin.fit(loop)
        return torch.cat([weight.detach().flatten() for weight in student.parameters()]) - before

    hundred, hundredth, one = map(trained, ["jacobian[ce=0,jac=100]", "jacobian[ce=0,act=0.01]", "jacobian[ce=0]"])
    assert (hundred - hundredth).norm() < 1e-3 * hundred.norm()
    whole, scaled = map(trained, ["distill[ce=0]", "distill[ce=0,act=0.01]"])
    assert (whole - scaled).norm() < 1e-3 * whole.norm()
    assert (hundred - one).norm() > 0.1 * hundred.norm()
