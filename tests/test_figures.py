"""What figures show: which rows have a line, and what is counted under a transfer task's lines."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib.text
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from report_factory import make_record, make_records, make_task

from jkbench.records.schema import Record
from jkbench.records.select import Chosen
from jkbench.report import accuracy_figure as figure
from jkbench.report import transfer_figure
from jkbench.report.figures import limits, sideways
from jkbench.report.leaderboard import document
from jkbench.report.page import Page, compose
from jkbench.report.render import markdown
from jkbench.statistics import mean_interval
from jkbench.tasks.task import Task

SOURCE = {"dataset": "digits", "classes": [0, 1, 2]}


def page_of(rows: dict[str, dict[int, float]], kind: str = "transfer") -> Page:
    changes = {"source": SOURCE} if kind == "transfer" else {}
    task = make_task(name="figured", kind=kind, shots=[1, 5, 10, 50], baseline="scratch", **changes)
    return compose(Chosen(task, [r for label, values in rows.items() for r in records(task, label, values)]))


def records(task: Task, label: str, values: dict[int, float]) -> list[Record]:
    return [make_record(task, label, s, seed, accuracy=v) for s, v in values.items() for seed in range(2)]


def variants(count: int, *shots: int, at: float = 0.7) -> dict[str, dict[int, float]]:
    return {f"distill[act={n}]": dict.fromkeys(shots, at + n / 1000) for n in range(count)}


def test_ten_rows_all_have_a_line_and_nothing_is_said():
    page = page_of({"scratch": {1: 0.5, 5: 0.6}} | variants(9, 1))
    assert figure.drawn(page.grid, "scratch") == page.grid.labels
    assert figure.left_out(page) == ""


def test_of_more_rows_those_run_in_the_most_regimes_have_a_line_and_always_the_baseline():
    page = page_of({"scratch": {1: 0.5}, "lwf": {1: 0.6, 5: 0.7}, "distill": {1: 0.6, 5: 0.7}} | variants(9, 1))
    assert set(figure.drawn(page.grid, "scratch")) == {"scratch", "lwf", "distill"}
    sentence = figure.left_out(page)
    assert sentence.startswith("The figure shows 3 of the 12 rows:")
    assert markdown.render(document(page)).count(sentence) == 2  # under both figures


def test_of_more_complete_rows_the_best_have_a_line_and_always_the_baseline():
    page = page_of({"scratch": {1: 0.1, 5: 0.1}} | variants(14, 1, 5))
    shown = figure.drawn(page.grid, "scratch")
    assert len(shown) == figure.MOST_LINES
    assert set(shown) == {"scratch"} | {f"distill[act={n}]" for n in range(5, 14)}


def test_rows_with_the_tasks_own_parameters_have_a_line_before_better_ones_with_others():
    page = page_of({"scratch": {1: 0.1, 5: 0.1}, "jacobian": {1: 0.2, 5: 0.2}} | variants(14, 1, 5))
    shown = figure.drawn(page.grid, "scratch")
    assert set(shown) == {"scratch", "jacobian"} | {f"distill[act={n}]" for n in range(6, 14)}


def test_a_baseline_of_more_regimes_does_not_stand_alone():
    page = page_of({"scratch": {1: 0.1, 5: 0.1, 10: 0.1}} | variants(12, 1, 5))
    assert len(figure.drawn(page.grid, "scratch")) == figure.MOST_LINES


def test_trials_that_failed_are_no_regimes():
    task = make_task(name="figured", kind="transfer", shots=[1, 5, 10, 50], baseline="scratch", source=SOURCE)
    values = {"scratch": {1: 0.5, 5: 0.6}} | variants(10, 1, 5)
    done = [r for label, row in values.items() for r in records(task, label, row)]
    failed = [make_record(task, "lwf", shots, 0, status="diverged") for shots in (1, 5, 10)]
    page = compose(Chosen(task, done + failed))
    shown = figure.drawn(page.grid, "scratch")
    assert len(shown) == figure.MOST_LINES
    assert "lwf" not in shown
    assert "10 of the 11 rows" in figure.left_out(page)


def drawn_by(fill: Callable[[Axes], None]) -> Axes:
    panel = Figure().subplots()
    fill(panel)
    return panel


def test_seeds_below_the_baseline_are_written_row_by_row():
    page = page_of({"scratch": {1: 0.5, 5: 0.6}, "lwf": {1: 0.4, 5: 0.7}, "attention": {5: 0.5}})
    panel = drawn_by(transfer_figure.counted(page)[0])
    names = [text.get_text() for text in panel.get_yticklabels()]
    columns = [text.get_text() for text in panel.get_xticklabels()]
    found: dict[str, dict[str, str]] = {name: {} for name in names}
    for text in panel.findobj(matplotlib.text.Text):
        if " of " in text.get_text() or text.get_text() == "–":
            x, y = text.get_position()
            found[names[round(y)]][columns[round(x)]] = text.get_text()
    assert found["lwf"] == {"1": "2 of 2", "5": "0 of 2"}
    assert found["attention"] == {"1": "–", "5": "2 of 2"}


def test_images_to_the_target_are_marked_where_the_table_has_them():
    page = page_of(
        {
            "scratch": {1: 0.5, 5: 0.6, 10: 0.7},
            "lwf": {1: 0.8, 5: 0.8, 10: 0.8},  # there at once
            "distill": {1: 0.5, 5: 0.5, 10: 0.6},  # never
            "attention": {1: 0.5, 5: 0.7, 10: 0.8},  # at 5
        }
    )
    panel = drawn_by(transfer_figure.counted(page)[-1])
    rows = page.grid.labels  # names stand at the first panel, for both
    marks = {
        rows[round(float(y))]: (round(float(x), 6), str(line.get_marker()))
        for line in panel.lines
        if line.get_marker() not in ("None", None, "")
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    }
    assert marks == {"scratch": (10, "o"), "lwf": (1, "<"), "distill": (10, ">"), "attention": (5, "o")}


def test_a_page_of_another_kind_counts_nothing():
    assert transfer_figure.counted(page_of({"scratch": {1: 0.5}, "distill": {1: 0.6}}, kind="distillation")) == []


def test_a_task_of_one_regime_has_a_dot_a_row():
    task = make_task(shots=[5])
    labels = ["scratch", "distill", "finetune"]
    page = compose(Chosen(task, make_records(task, labels, seeds=4)))
    (panel,) = figure.draw(page).axes
    names = [text.get_text() for text in panel.get_yticklabels()]
    assert sorted(names) == ["distill", "finetune (reference)", "scratch"]
    for name, line in zip(names, panel.lines[::3], strict=True):
        found = page.grid.cell(name.partition(" ")[0], page.grid.columns[0]).interval
        assert found is not None
        assert line.get_xdata() == pytest.approx([100 * found.mean])


@pytest.mark.parametrize("places", [[1.0, 500.0], [4.0, 10.0, 40.0], [1.0, 5.0, 10.0, 50.0, 100.0, 500.0]])
@pytest.mark.parametrize("log", [True, False])
def test_no_mark_stands_far_from_its_place(places, log):
    scale = np.log if log else np.asarray
    shift = sideways(places, 10, log)
    for place in places:
        for row in range(10):
            moved = abs(float(scale(shift(place, row)) - scale(place)))
            assert moved <= 0.04 * float(np.ptp(scale(places))) + 1e-9


def test_an_axis_never_leaves_what_a_share_can_be():
    wide = [mean_interval([0.98, 0.999]), mean_interval([0.01, 0.02])]
    low, high = limits(wide, 100, 0, 100)
    assert 0 <= low < high <= 100
