"""``jkbench reproduce``: what it runs, and the pages and figures that it writes."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from paper_tables import records, render, table, the_only

from jkbench.cli import cli
from jkbench.errors import UserError
from jkbench.execute import run as application
from jkbench.papers import figure as paper_figure
from jkbench.papers.compare import compare
from jkbench.plugins.discovery import Index
from jkbench.records.store import RecordSet, Store
from jkbench.tasks import task as tasks
from jkbench.tasks.shots import Shots


def test_the_figure_has_every_published_number_and_ours_hollow_where_there_is_no_interval(index: Index) -> None:
    cells = {
        ("ce+act", "5"): [27.0, 28.0],
        ("ce+act+jac", "5"): [33.0, 34.5],
        ("ce", "5"): [13.0],
        ("ce+jac", "5"): [9.0],
    }
    page = compare(table("cifar100"), tasks.load("cifar100-fewshot"), index, records(index, "cifar100", cells))
    made = paper_figure.draw(page)
    panels = {panel.get_title(): panel for panel in made.axes}
    assert list(panels) == ["ce+act+jac − ce+act", "ce+jac − ce"]  # nothing of act+jac has been run
    for title, (name, height, face) in {
        "ce+act+jac − ce+act": ("measured", 6.25, "#0072B2"),
        "ce+jac − ce": ("measured (one seed)", -4.0, "white"),
    }.items():
        (published,) = [line for line in panels[title].lines if line.get_label() == "published"]
        row, over = title.split(" − ")
        assert list(published.get_ydata()) == [
            g.published for g in page.readings[0].gains if (g.row, g.over) == (row, over)
        ]
        (container,) = panels[title].containers
        assert (container.get_label(), container.lines[0].get_markerfacecolor()) == (name, face)
        assert list(container.lines[0].get_xydata()[0]) == pytest.approx([1, height])
        (bars,) = container.lines[2]
        low, high = bars.get_segments()[0][:, 1]
        (ours,) = [g.ours for g in the_only(page).gains if (g.row, g.over, g.column) == (row, over, "5")]
        assert ours is not None
        assert (high - low) / 2 == pytest.approx(ours.half_width or 0)
    assert "with 95 % intervals, one panel per difference](page.png)" in render(page)
    assert "](page.png)" not in render(compare(table("cifar100"), page.task, index, RecordSet()))


def test_the_figures_legend_lies_inside_it_however_many_readings_there_are(index: Index) -> None:
    chosen, name = table("cifar100"), "cifar100-fewshot-early"
    cells = {("ce", "5"): [13.0, 14.0], ("ce+jac", "5"): [22.0, 24.0], ("ce", "10"): [20.0], ("ce+jac", "10"): [30.0]}
    loaded = records(index, "cifar100", cells, task=name)
    page = compare(chosen, tasks.load(name), index, loaded)
    three = dataclasses.replace(
        page, readings=[dataclasses.replace(page.readings[0], name=r.name) for r in page.readings]
    )
    made = paper_figure.draw(three)
    FigureCanvasAgg(made).draw()
    (legend,) = made.legends
    assert len(legend.get_texts()) == 7
    assert made.bbox.contains(*legend.get_window_extent().min)
    assert made.bbox.contains(*legend.get_window_extent().max)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, list[Shots] | None]]:
    """What is asked of the application, which runs nothing: task, methods, regimes."""
    told: list[tuple[str, str, list[Shots] | None]] = []

    def make_plan(task: str, methods: str, shots: list[Shots] | None, *others: Any, **more: Any) -> None:
        told.append((task, methods, shots))

    monkeypatch.setattr(application, "make_plan", make_plan)
    monkeypatch.setattr(application, "run", lambda *given: {})
    monkeypatch.setattr(sys.modules["jkbench.cli.reproduce"], "show", lambda *given: None)
    return told


def test_a_reading_runs_its_own_rows_and_a_task_those_of_all(
    nowhere: Path, asked: list[tuple[str, str, list[Shots] | None]], capsys: pytest.CaptureFixture[str]
) -> None:
    chosen, task = table("cifar100"), "cifar100-fewshot-early"
    for words in (["--reading", "mean-of-classes"], ["--task", task]):
        cli.main(["reproduce", "jacobian-matching", *words], standalone_mode=False)
    one = list(chosen.methods_of(task, "mean-of-classes").values())
    every = [method for name in chosen.readings_of(task) for method in chosen.methods_of(task, name).values()]
    assert len(set(every)) == 6 + 3 + 2  # all-ones, and what the others run otherwise
    assert asked == [(task, ",".join(one), None), (task, ",".join(dict.fromkeys(every)), None)]
    assert capsys.readouterr().out.count("cifar100-fewshot-early.md: 0 of 36 cells") == 2


def test_only_regimes_that_a_table_has_columns_of_are_run(
    nowhere: Path, asked: list[tuple[str, str, list[Shots] | None]]
) -> None:
    for words in (["--table", "cifar100", "--shots", "7,5"], ["--table", "noise", "--shots", "5"], ["--shots", "7"]):
        with pytest.raises(UserError, match=r"no column of [57]\n"):
            cli.main(["reproduce", "jacobian-matching", *words], standalone_mode=False)
    assert not asked
    cli.main(["reproduce", "jacobian-matching", "--shots", "5,1000"], standalone_mode=False)
    regimes = {task: shots for task, _, shots in asked}
    assert regimes == {"cifar100-fewshot": [5], "cifar10-fewshot": [5, 1000], "mit67-transfer-resnet18": [5]}


def test_the_command_draws_what_has_been_run_and_takes_back_a_figure_of_nothing(nowhere: Path, index: Index) -> None:
    folder = nowhere / "leaderboard"
    (folder / "jacobian-matching-cifar10-fewshot.png").parent.mkdir()
    (folder / "jacobian-matching-cifar10-fewshot.png").write_bytes(b"of records that are no longer there")
    cells = {("ce", "1"): [5.0, 6.0], ("ce+jac", "1"): [6.0, 7.5]}
    for held in records(index, "cifar100", cells, task="cifar100-fewshot-short").records.values():
        Store(folder).put(held)
    cli.main(["reproduce", "jacobian-matching", "--page-only"], standalone_mode=False)
    assert [path.name for path in folder.glob("*.png")] == ["jacobian-matching-cifar100-fewshot-short.png"]
    assert "(jacobian-matching-cifar100-fewshot-short.png)" in (
        folder / "jacobian-matching-cifar100-fewshot-short.md"
    ).read_text(encoding="utf-8")


def test_the_command_writes_pages_of_what_there_is(
    nowhere: Path, index: Index, capsys: pytest.CaptureFixture[str]
) -> None:
    for record in records(index, "cifar100", {("ce", "1"): [5.0]}, task="cifar100-fewshot-short").records.values():
        Store(nowhere / "leaderboard").put(record)
    cli.main(["reproduce", "jacobian-matching", "--page-only"], standalone_mode=False)
    assert capsys.readouterr().out.count("of 36 cells") == 2
    cli.main(
        ["reproduce", "jacobian-matching", "--task", "cifar100-fewshot-short", "--page-only"], standalone_mode=False
    )
    assert capsys.readouterr().out.count("cells") == 1  # the one table that it runs
    names = {path.name for path in (nowhere / "leaderboard").glob("*.md")}
    assert names == {
        f"jacobian-matching-{task}.md"
        for task in (
            "cifar100-fewshot",
            "cifar100-fewshot-short",
            "cifar10-fewshot",
            "cifar100-noise",
            "flowers-transfer",
            "mit67-transfer-resnet18",
        )
    }
    for words, told in (
        (["other"], "there is no preset 'other'"),
        (["jacobian-matching", "--table", "cifar"], "there is no table 'cifar'"),
        (["jacobian-matching", "--table", "cifar10", "--task", "digits-fewshot"], "does not run the table"),
        (
            ["jacobian-matching", "--table", "cifar100", "--reading", "mean"],
            "there is no reading 'mean'",
        ),
        (["jacobian-matching", "--task", "cifar100-fewshot-early", "--reading", "mean"], "there is no reading 'mean'"),
        (["jacobian-matching", "--table", "noise", "--reading", "all-ones"], "there is no reading"),
    ):
        with pytest.raises(UserError, match=told):
            cli.main(["reproduce", *words, "--page-only"], standalone_mode=False)
