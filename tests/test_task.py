"""Task files: what is wrong is told with the path to it and what would be right."""

from __future__ import annotations

import pickle
import tomllib
from pathlib import Path

import pytest

from jkbench.errors import UserError
from jkbench.records import tasks as recorded_tasks
from jkbench.tasks import shots
from jkbench.tasks import task as tasks

DIGITS = tasks.builtin()["digits-fewshot"].read_text()


def write(folder: Path, text: str, name: str = "mine") -> str:
    path = folder / f"{name}.toml"
    path.write_text(text.replace('name = "digits-fewshot"', f'name = "{name}"'))
    return str(path)


@pytest.mark.parametrize("name", sorted(tasks.builtin()))
def test_built_in_tasks_load(name: str) -> None:
    assert tasks.load(name).name == name


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("version = 1", "version = 1\nversoin = 2", "versoin.*did you mean 'version'"),
        (
            "learning_rate = 1e-3, steps = 300",
            "learning_rate = -1, steps = 300",
            "student.training.learning_rate.*given: -1",
        ),
        ("steps = 300, ", "stesp = 300, ", "student.training.stesp.*did you mean 'steps'"),
        ("steps = 300, ", "steps = 300, epochs = 2, ", "either steps or epochs"),
        ("drop_at = 240", "drop_at = 300", "drop_at lies beyond"),
        ('kind = "distillation"', 'kind = "distilation"', "kind.*'distillation'"),
        ('kind = "distillation"', 'kind = "transfer"', "needs a \\[source\\]"),
        ("shots = [1, 5, 10, 50]", "shots = [1, 0]", "shots"),
        ("shots = [1, 5, 10, 50]", "shots = [1, 1]", "twice"),
        ("shots = [1, 5, 10, 50]", "shots = [", "not a TOML file"),
        ("shots = [1, 5, 10, 50]", f"shots = {'[' * 5000}", "not a TOML file"),
    ],
)
def test_a_wrong_field_is_told_with_its_path(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in DIGITS
    with pytest.raises(UserError) as caught:
        tasks.load(write(tmp_path, DIGITS.replace(old, new)))
    import re

    assert re.search(told, str(caught.value), re.DOTALL), str(caught.value)


def test_all_wrong_fields_are_told_at_once(tmp_path: Path) -> None:
    text = DIGITS.replace("version = 1", "version = 0\ncolour = 3").replace("batch = 32", "batch = 1")
    with pytest.raises(UserError) as caught:
        tasks.load(write(tmp_path, text))
    for part in ("version", "colour", "student.training.batch"):
        assert part in str(caught.value)


def test_unknown_task_says_what_was_meant(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="digits-fewshot"):
        recorded_tasks.load("digits-fewshots", tmp_path)
    with pytest.raises(UserError, match="no task file"):
        tasks.load(str(tmp_path / "none.toml"))


def test_protocol_is_what_can_change_a_number(tmp_path: Path) -> None:
    same = tasks.load("digits-fewshot").protocol
    base = tasks.Task.model_validate(tomllib.loads(DIGITS))
    assert base.protocol == same
    assert base.model_copy(update={"title": "other", "seeds": 20, "shots": (1,)}).protocol == same
    slower = base.student.training.model_copy(update={"learning_rate": 5e-4})
    assert base.model_copy(update={"student": base.student.model_copy(update={"training": slower})}).protocol != same


def test_a_protocol_is_hashed_once_and_never_carried_to_a_changed_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    task = tasks.load("digits-fewshot")
    first = task.protocol
    monkeypatch.setattr(tasks.hashing, "of_value", lambda value: "another")
    assert task.protocol == first
    assert task.model_copy().protocol == task.model_copy(deep=True).protocol == "another"
    assert pickle.loads(pickle.dumps(task)) == task == task.model_copy()


def test_a_task_file_is_kept_beside_its_records_and_not_replaced_by_another(tmp_path: Path) -> None:
    path = write(tmp_path, DIGITS)
    board = tmp_path / "board"
    recorded_tasks.keep(*recorded_tasks.planned(path, board), board)
    assert recorded_tasks.load("mine", board).name == "mine"
    recorded_tasks.keep(*recorded_tasks.planned(path, board), board)
    write(tmp_path, DIGITS.replace("steps = 300", "steps = 299"))
    with pytest.raises(UserError, match="one protocol per table"):
        recorded_tasks.keep(*recorded_tasks.planned(path, board), board)
    with pytest.raises(UserError, match="already has a task"):
        recorded_tasks.planned(write(tmp_path, DIGITS, "digits-fewshot"), board)


def test_regimes_are_written_in_one_way() -> None:
    assert shots.per_class(5) == "5 per class"
    assert shots.per_class("full") == "full data"
    assert shots.per_class(1, 5, "full") == "1, 5 per class, full data"
