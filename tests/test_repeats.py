"""Two results of one trial: both are kept, and what contradicts itself is said until somebody settles it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from report_factory import make_record, make_task

from jkbench.cli import cli
from jkbench.records.merge import merge
from jkbench.records.repeats import compared
from jkbench.records.schema import Record
from jkbench.records.select import Chosen
from jkbench.records.store import Store, encode
from jkbench.report import render
from jkbench.report.leaderboard import document
from jkbench.report.page import compose

TASK = make_task()


def result(accuracy: float, device: str = "NVIDIA H200", seed: int = 0, **changes: Any) -> Record:
    made = make_record(TASK, "distill", 1, seed, accuracy=accuracy, **changes)
    assert made.environment is not None
    return made.model_copy(update={"environment": made.environment.model_copy(update={"device": device})})


def board(folder: Path, *records: Record) -> Path:
    for record in records:
        Store(folder).put(record)
        Store(folder).fold(TASK.name)
    return folder


def test_a_result_of_another_machine_is_kept_beside_the_first(tmp_path: Path) -> None:
    first, second = result(0.5), result(0.51, device="cpu (x86_64)", created="2020-01-01T00:00")
    home = board(tmp_path / "home", first)
    merged = merge(board(tmp_path / "away", second), home)
    assert merged.counts[TASK.name] == {"repeated": 1}
    assert not merged.contradictions
    loaded = Store(home).read(TASK.name)
    assert loaded.records == {first.id: first}
    assert loaded.repeats == [second]
    assert not loaded.complaints()
    again = merge(tmp_path / "away", home)
    assert not again.counts[TASK.name]["repeated"]
    assert Store(home).fold(TASK.name).repeats == [second]


def test_the_same_numbers_from_one_machine_are_one_result(tmp_path: Path) -> None:
    home = board(tmp_path / "home", result(0.5))
    merge(board(tmp_path / "away", result(0.5, created="2030-01-01T00:00")), home)
    assert not Store(home).read(TASK.name).repeats


def test_other_numbers_from_one_machine_are_a_contradiction(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home, away = (
        board(tmp_path / "home", result(0.5)),
        board(tmp_path / "away", result(0.51, created="2030-01-01T00:00")),
    )
    assert cli.main(["merge", str(away), "--leaderboard", str(home)], standalone_mode=False) == 1
    said = capsys.readouterr().err
    assert (
        "contradiction: digits-fewshot: two results of one trial on one kind of machine: distill, 1 per class" in said
    )
    assert "accuracy 0.5 and 0.51" in said
    assert Store(home).read(TASK.name).records[result(0.5).id].metrics["accuracy"] == 0.5
    assert any("accuracy 0.5 and 0.51" in each for each in Store(home).fold(TASK.name).complaints())
    Store(home).remove(TASK.name, {result(0.5).id})
    assert not Store(home).read(TASK.name).records
    assert not Store(home).read(TASK.name).complaints()


def test_both_sides_of_a_git_merge_are_kept(tmp_path: Path) -> None:
    """`merge=union` puts two lines of one id into a file: the fold keeps the earlier there, and the other beside."""
    one, two = result(0.5), result(0.51, created="2030-01-01T00:00")
    path = board(tmp_path, one) / "records" / TASK.name / "distill.jsonl"
    for lines in ([one, two], [two, one]):
        path.write_text("".join(encode(record) + "\n" for record in lines))
        loaded = Store(tmp_path).fold(TASK.name)
        assert path.read_text() == encode(one) + "\n"
        assert loaded.records == {one.id: one}
        assert loaded.repeats == [two]
        assert len(loaded.complaints()) == 1


def test_another_teacher_or_a_failure_is_no_repeat(tmp_path: Path) -> None:
    taught = result(0.5).teacher
    assert taught is not None
    other = result(0.6, teacher=taught.model_copy(update={"weights": "v" * 16}), created="2030-01-01T00:00")
    failed = make_record(TASK, "distill", 1, 0, status="failed", created="2031-01-01T00:00")
    loaded = Store(board(tmp_path, result(0.5), other, failed)).read(TASK.name)
    assert loaded.records == {other.id: other}
    assert not loaded.repeats


def test_a_page_says_how_far_machines_differ_and_what_contradicts_itself() -> None:
    records = [make_record(TASK, "distill", 1, seed) for seed in (0, 1, 2)]
    cpu = [result(accuracy, device="cpu (x86_64)", seed=seed) for seed, accuracy in enumerate((0.5, 0.51))]
    repeats = [compared(records[other.seed], other) for other in [*cpu, result(0.6, seed=2)]]
    page = render.markdown.render(document(compose(Chosen(TASK, records, repeats=repeats))))
    assert "2 trials ran on two kinds of machine" in page
    assert "accuracies lie 0.50 points apart on average, 1.00 at most" in page
    assert "two results of one trial on one kind of machine: distill, 1 per class, seed 2" in page
