"""Folders beside a leaderboard folder count and are shown, and are never written; a page has the rows that ran."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from test_store import record

from jkbench.cli import main
from jkbench.plugins.discovery import Index, discover
from jkbench.records.schema import Record
from jkbench.records.select import choose
from jkbench.records.store import RecordSet, Store
from jkbench.tasks import task as tasks

COMMITTED = Path(__file__).parent.parent / "leaderboard"
FEWSHOT = tasks.load("digits-fewshot")


def state(folder: Path) -> dict[Path, tuple[bytes, int]]:
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def ended(*words: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(list(words))
    return int(end.value.code or 0)


def mine(task: tasks.Task = FEWSHOT) -> Record:
    """A record of a method that the suite does not have."""
    return record(task=task.name, protocol=task.protocol, method="mine", label="mine", shots=task.shots[0])


def suite(folder: Path, *names: str) -> Path:
    """Some of the committed records, in a folder of their own."""
    for name in names:
        shutil.copytree(COMMITTED / "records" / name, folder / "records" / name)
    return folder


def test_records_beside_are_shown_and_never_written(tmp_path: Path) -> None:
    beside, home = suite(tmp_path / "suite", "digits-fewshot"), tmp_path / "home"
    unfolded = Store(beside).put(mine().model_copy(update={"id": "c" * 16, "seed": 7}))
    Store(home).put(mine())
    before = state(beside)
    assert ended("leaderboard", "--leaderboard", str(home), "--beside", str(beside)) == 0
    assert state(beside) == before
    assert unfolded.is_file()
    table = (home / "digits-fewshot.csv").read_text()
    assert {"mine", "distill", "jacobian"} <= {line.split(",")[3] for line in table.splitlines()}
    assert [path.name for path in (home / "records/digits-fewshot").iterdir()] == ["mine.jsonl"]


def test_of_one_trial_at_home_and_beside_the_better_record_counts(tmp_path: Path) -> None:
    Store(tmp_path / "beside").put(record())
    home = Store(tmp_path / "home", [tmp_path / "beside"])
    home.put(record(status="failed", message="x", created="2027-01-01T00:00:00+00:00"))
    for loaded in (home.read("t"), home.outlines("t"), home.fold("t")):
        assert [one.status for one in loaded.records.values()] == ["ok"]
    assert '"failed"' in (tmp_path / "home/records/t/m.jsonl").read_text()


def test_a_task_that_is_kept_beside_is_found(tmp_path: Path) -> None:
    home, beside = tmp_path / "home", tmp_path / "beside"
    text = tasks.builtin()["digits-fewshot"].read_text().replace('"digits-fewshot"', '"digits-mine"')
    (beside / "tasks").mkdir(parents=True)
    (beside / "tasks/digits-mine.toml").write_text(text)
    Store(beside).put(mine(tasks.load(str(beside / "tasks/digits-mine.toml"))))
    home.mkdir()
    assert ended("leaderboard", "--leaderboard", str(home), "--beside", str(beside)) == 0
    assert (home / "digits-mine.md").is_file()


def test_one_method_tried_on_one_task_changes_one_page_and_the_index(tmp_path: Path) -> None:
    home = suite(tmp_path / "home", "digits-noise", "cifar100-fewshot-short")
    assert ended("leaderboard", "--leaderboard", str(home)) == 0
    before = state(home)
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    text = (COMMITTED.parent / "methods/distill.py").read_text()
    (plugins / "mine.py").write_text(text.replace("class Distill", "class Mine"))
    noise = tasks.load("digits-noise")
    Store(home).put(mine(noise).model_copy(update={"method": "other", "label": "other"}))
    assert ended("leaderboard", "--leaderboard", str(home), "--plugins", str(plugins)) == 0
    after = state(home)
    changed = {path.relative_to(home) for path in {*before, *after} if before.get(path) != after.get(path)}
    pages = {path.name for path in changed if path.suffix == ".md"}
    assert pages == {"README.md", "digits-noise.md"}
    assert {path.name.split(".")[0].split("--")[0] for path in changed} <= {"README", "digits-noise", "other", ""}


def test_a_row_appears_with_its_first_record_or_where_its_task_names_it(index: Index) -> None:
    planned = {label.partition("[")[0] for label, _ in choose(FEWSHOT, index, RecordSet()).expected or ()}
    assert planned == {*FEWSHOT.methods, FEWSHOT.baseline}
    assert planned < set(index.methods())
    assert choose(FEWSHOT, index, RecordSet(), split="validation").expected == []


def test_a_method_that_ran_with_other_parameters_has_no_empty_row_of_the_tasks_own() -> None:
    task = tasks.load(str(COMMITTED / "tasks/digits-fewshot-budget-time.toml"))
    equal_time = Store(COMMITTED).read(task.name)
    ran = {record.method for record in equal_time.records.values()}
    own = {label for label, _ in choose(task, discover(working=COMMITTED.parent), equal_time).expected or ()}
    assert {"attention", "jacobian"} <= ran & set(task.methods)
    assert not {"attention", "jacobian"} & own
    assert own >= set(task.methods) - ran


def test_a_trial_that_is_done_beside_is_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    beside, home = suite(tmp_path / "suite", FEWSHOT.name), tmp_path / "home"
    (network,) = (COMMITTED / "teachers").glob("*-6e8248dce534f3c6.safetensors")
    (beside / "teachers").mkdir()
    shutil.copy(network, beside / "teachers")
    before = state(beside)
    words = ["--methods", "distill,jacobian", "--task", FEWSHOT.name, "--leaderboard", str(home)]
    assert ended("plan", *words) == 0
    assert "0 done, 48 to run" in capsys.readouterr().out
    assert ended("plan", *words, "--beside", str(beside)) == 0
    assert "48 done, 0 to run" in capsys.readouterr().out
    assert ended("run", *words, "--beside", str(beside)) == 0
    assert "48 done, 0 to run" in capsys.readouterr().err
    assert state(beside) == before
    assert (home / "teachers" / network.name).read_bytes() == network.read_bytes()
    assert not list((home / "records").rglob("*.jsonl"))
