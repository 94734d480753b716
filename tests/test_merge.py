"""Records made elsewhere come home: nothing is lost, nothing stands twice, no other teacher's gets in."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import small
from safetensors.numpy import load_file, save_file

from jkbench import planning as plan
from jkbench.cli import cli
from jkbench.engine.trial import run
from jkbench.errors import UserError
from jkbench.plugins.discovery import Index
from jkbench.records import weights
from jkbench.records.merge import merge
from jkbench.records.schema import Record
from jkbench.records.store import Store

TASK = "check-distillation"


@pytest.fixture(scope="module")
def records(index: Index, references: Path) -> list[Record]:
    made = plan.make(small.task(), index, "scratch,distill", seeds=[0, 1]).trials
    return [run(trial, small.where(references)) for trial in made]


def board(folder: Path, records: list[Record], references: Path | None = None, fold: bool = False) -> Path:
    for record in records:
        Store(folder).put(record)
    if fold:
        Store(folder).fold(TASK)
    if references is not None:
        shutil.copytree(references / "teachers", folder / "teachers", ignore=shutil.ignore_patterns("*.lock"))
    return folder


@pytest.mark.parametrize("folded", [True, False])
def test_new_records_and_the_teacher_come_home(
    tmp_path: Path, records: list[Record], references: Path, folded: bool
) -> None:
    home = board(tmp_path / "home", records[:1], fold=True)
    merged = merge(board(tmp_path / "away", records, references, folded), home)
    assert merged.counts == {TASK: {"new": 3, "known": 1}}
    assert merged.networks
    assert set(Store(home).read(TASK).records) == {record.id for record in records}
    assert not list((home / "inflight").rglob("*.json"))
    again = merge(tmp_path / "away", home)
    assert (again.counts[TASK]["new"], again.networks) == (0, [])


def test_a_result_replaces_a_failure_and_not_the_other_way(tmp_path: Path, records: list[Record]) -> None:
    failure = records[0].model_copy(update={"status": "failed", "message": "x", "created": "2999-01-01T00:00:00.000"})
    home = board(tmp_path / "home", [failure], fold=True)
    away = board(tmp_path / "away", [records[0]])
    assert merge(away, home).counts[TASK]["better"] == 1
    assert Store(home).read(TASK).records[records[0].id].status == "ok"
    assert merge(board(tmp_path / "other", [failure]), home).counts[TASK] == {"known": 1}
    assert Store(home).read(TASK).records[records[0].id].status == "ok"


def test_another_teacher_of_the_same_recipe_is_refused_before_anything_is_written(
    tmp_path: Path, records: list[Record], references: Path
) -> None:
    home = board(tmp_path / "home", [], references)
    away = board(tmp_path / "away", records, references)
    file = next((away / "teachers").glob("teacher-*.safetensors"))
    said, tensors = weights.described(file), load_file(file)
    assert said is not None
    tensors["head.bias"] += 1
    other = said.model_copy(update={"weights": weights.weights_hash(tensors)})
    save_file(tensors, file, {weights.KEY: other.model_dump_json()})
    with pytest.raises(UserError, match="have the same recipe and different weights"):
        merge(away, home)
    assert not Store(home).tasks()


def test_a_teacher_whose_weights_are_damaged_does_not_come_home(
    tmp_path: Path, records: list[Record], references: Path
) -> None:
    home, away = board(tmp_path / "home", []), board(tmp_path / "away", records, references)
    file = next((away / "teachers").glob("teacher-*.safetensors"))
    content = bytearray(file.read_bytes())
    content[-40] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(UserError, match=rf"the network in .*{file.name} is damaged"):
        merge(away, home)
    assert not Store(home).tasks()
    assert not (home / "teachers").exists()


def test_records_of_another_teacher_are_refused_even_without_its_file(
    tmp_path: Path, records: list[Record], references: Path
) -> None:
    taught = next(record for record in records if record.teacher is not None)
    assert taught.teacher is not None
    teacher = taught.teacher.model_copy(update={"weights": "0" * 16})
    foreign = taught.model_copy(update={"teacher": teacher, "created": "2999-01-01T00:00:00.000"})
    away = board(tmp_path / "away", [foreign])
    for home in (board(tmp_path / "kept", [], references), board(tmp_path / "records", [taught], fold=True)):
        with pytest.raises(UserError, match="come from another teacher"):
            merge(away, home)
    assert Store(tmp_path / "records").read(TASK).records[taught.id].teacher == taught.teacher
    two = board(tmp_path / "two", [foreign, *(r for r in records if r.id != foreign.id)])
    with pytest.raises(UserError, match="come from another teacher"):
        merge(two, tmp_path / "empty")


def test_a_newer_record_is_counted_as_such(tmp_path: Path, records: list[Record]) -> None:
    home = board(tmp_path / "home", records[:1], fold=True)
    newer = records[0].model_copy(update={"created": "2999-01-01T00:00:00.000"})
    merged = merge(board(tmp_path / "away", [newer]), home)
    assert merged.counts == {TASK: {"newer": 1}}


def test_folders_that_are_none_are_refused(tmp_path: Path, records: list[Record]) -> None:
    home = board(tmp_path / "home", records[:1])
    with pytest.raises(UserError, match="no records"):
        merge(tmp_path / "nothing", home)
    with pytest.raises(UserError, match="itself"):
        merge(home, home)
    away = board(tmp_path / "away", records[1:2])
    (away / "teachers").mkdir()
    (away / "teachers/teacher-0.safetensors").write_bytes(b"half")
    with pytest.raises(UserError, match="is damaged"):
        merge(away, home)


def test_the_command(tmp_path: Path, records: list[Record], capsys: pytest.CaptureFixture[str]) -> None:
    away, home = board(tmp_path / "away", records), tmp_path / "home"
    cli.main(["merge", str(away), "--leaderboard", str(home)], standalone_mode=False)
    assert f"{TASK}: 4 new records, 0 known ones" in capsys.readouterr().out
