"""Teachers: trained once, checked on load, refused when damaged or of another recipe."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import small
import torch
from safetensors.torch import load_file, save

from jkbench.cli import cli
from jkbench.engine import images as image_sets
from jkbench.engine import teacher as networks
from jkbench.engine.checkpoint import CheckpointWarning
from jkbench.engine.trial import run
from jkbench.errors import UserError
from jkbench.plugins.discovery import Index
from jkbench.records import teachers, weights


def teacher_of(index: Index, folder: Path) -> tuple[teachers.Recipe, image_sets.LoadedDataset, Path]:
    made = small.trial(index, "distill")
    found = teachers.of_task(made.task, made.datasets)
    assert found is not None
    data = image_sets.of_task(made.task, made.datasets).source
    networks.obtain(folder, found, data, small.CPU)
    return found, data, networks.path(folder, found)


def test_a_teacher_is_trained_once_and_checked_on_load(index: Index, tmp_path: Path) -> None:
    found, data, path = teacher_of(index, tmp_path)
    assert path.name == f"teacher-{found.hash}.safetensors"
    written = path.stat().st_mtime_ns
    kept = networks.obtain(tmp_path, found, data, small.CPU)
    assert path.stat().st_mtime_ns == written
    again = networks.train(found, data, small.CPU, lambda step, steps: None)
    assert again.weights == kept.weights
    before = path.read_bytes()
    networks.store(again, data, tmp_path)
    assert path.read_bytes() == before
    assert again.accuracy == kept.accuracy


def test_a_damaged_or_foreign_teacher_is_refused_and_never_trained_over(index: Index, tmp_path: Path) -> None:
    found, data, path = teacher_of(index, tmp_path)
    good = path.read_bytes()
    flipped = bytearray(good)
    flipped[-5] ^= 0xFF
    for content, told in ((good[:200], "damaged"), (bytes(flipped), "damaged"), (b"", "damaged")):
        path.write_bytes(content)
        with pytest.raises(UserError, match=told):
            networks.load(tmp_path, found, data, small.CPU)
        got = run(small.trial(index, "distill"), small.where(tmp_path))
        assert got.status == "failed"
        assert "delete the file" in (got.message or "")
        assert path.read_bytes() == content
    path.write_bytes(good)
    other = dataclasses.replace(found, seed=1)
    networks.path(tmp_path, other).write_bytes(good)
    with pytest.raises(UserError, match="another recipe"):
        networks.load(tmp_path, other, data, small.CPU)
    elsewhere = image_sets.LoadedDataset(data.splits, data.classes, "0" * 16)
    with pytest.raises(UserError, match="different images"):
        networks.load(tmp_path, found, elsewhere, small.CPU)


def test_a_teacher_travels_from_one_folder_to_another(index: Index, tmp_path: Path) -> None:
    found, data, path = teacher_of(index, tmp_path / "a")
    file = tmp_path / "exported.safetensors"
    file.write_bytes(path.read_bytes())
    adopted = networks.adopt(file, tmp_path / "b", found, data, small.CPU)
    assert networks.path(tmp_path / "b", found).read_bytes() == path.read_bytes()
    again = networks.adopt(file, tmp_path / "b", found, data, small.CPU)
    assert adopted.weights == again.weights
    other = dataclasses.replace(found, seed=1, architecture="vgg:4-M-4")
    with pytest.raises(UserError, match=r"another recipe: architecture 'vgg:8-M-16', not 'vgg:4-M-4'; seed 0, not 1"):
        networks.adopt(file, tmp_path / "b", other, data, small.CPU)
    with pytest.raises(UserError, match="there is no file"):
        networks.adopt(tmp_path / "nothing", tmp_path / "b", found, data, small.CPU)
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(UserError, match="is damaged"):
        networks.adopt(file, tmp_path / "c", found, data, small.CPU)
    assert not networks.path(tmp_path / "c", found).exists()


METADATA = [
    ("no accuracy", {"accuracy": ...}, "accuracy: Field required"),
    ("accuracy in words", {"accuracy": "high"}, "accuracy: Input should be a valid number"),
    ("more than all", {"accuracy": 48.67}, "accuracy: Input should be less than or equal to 1"),
    ("none of a trained one", {"accuracy": None}, "it has no accuracy"),
    (
        "another accuracy",
        {"accuracy": 0.999},
        r"claims 99\.90 % on its test images and reaches \d+\.\d\d % on those here",
    ),
    (
        "a training in a word",
        {"recipe": {"architecture": "vgg-4", "training": "long"}},
        "recipe's training is not a table",
    ),
    ("pre-trained, with an accuracy", {"recipe": {"architecture": "vgg-4", "pretrained": {}}}, "but has an accuracy"),
    ("a recipe of nothing", {"recipe": {}}, "its recipe names no architecture"),
]


@pytest.mark.parametrize(("change", "told"), [entry[1:] for entry in METADATA], ids=[entry[0] for entry in METADATA])
def test_a_teacher_that_says_wrong_things_of_itself_is_not_taken(
    index: Index, tmp_path: Path, change: dict[str, object], told: str
) -> None:
    found, data, path = teacher_of(index, tmp_path / "a")
    said = weights.described(path)
    assert said is not None
    wrong = {name: value for name, value in (said.model_dump() | change).items() if value is not ...}
    file = tmp_path / "changed.safetensors"
    file.write_bytes(save(load_file(path), {weights.KEY: json.dumps(wrong)}))
    with pytest.raises(UserError, match=told):
        networks.adopt(file, tmp_path / "b", found, data, small.CPU)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("said", ["[1]", "3", "{", '"teacher"'])
def test_metadata_that_is_no_account_of_a_network_is_damage(index: Index, tmp_path: Path, said: str) -> None:
    found, data, path = teacher_of(index, tmp_path)
    path.write_bytes(save(load_file(path), {weights.KEY: said}))
    assert weights.described(path) is None
    with pytest.raises(UserError, match="is damaged"):
        networks.load(tmp_path, found, data, small.CPU)


def test_a_file_of_another_suite_is_told_apart_from_another_recipe(index: Index, tmp_path: Path) -> None:
    found, data, path = teacher_of(index, tmp_path / "a")
    file = tmp_path / "foreign.safetensors"
    file.write_bytes(save(load_file(path)))
    with pytest.raises(UserError, match="it has no recipe"):
        networks.adopt(file, tmp_path / "b", found, data, small.CPU)


def test_recipes_are_compared_field_by_field() -> None:
    held = {"training": {"epochs": 4, "batch": 64}, "seed": 0}
    wanted = {"training": {"epochs": 100, "batch": 64}, "seed": 0, "role": "teacher"}
    assert weights.differences(held, wanted) == "training.epochs 4, not 100; role None, not 'teacher'"


def test_a_second_teacher_of_one_recipe_is_not_taken_over_the_first(index: Index, tmp_path: Path) -> None:
    found, data, path = teacher_of(index, tmp_path / "a")
    trained = networks.train(found, data, small.CPU, lambda step, steps: None)
    changed = trained.copy()
    with torch.no_grad():
        changed.head.bias.add_(1)
    other = networks.TrainedNetwork.of(found, changed, trained.accuracy)
    networks.store(other, data, tmp_path / "b")
    before = path.read_bytes()
    with pytest.raises(UserError, match="another network of the same recipe"):
        networks.adopt(networks.path(tmp_path / "b", found), tmp_path / "a", found, data, small.CPU)
    assert path.read_bytes() == before


def test_the_commands(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def jkbench(*arguments: str) -> str:
        cli.main(["teacher", *arguments], standalone_mode=False)
        return capsys.readouterr().out

    assert "no teachers in" in jkbench("list")
    with pytest.raises(UserError, match="has no teacher in leaderboard yet"):
        jkbench("export", "mine.safetensors", "--task", "small.toml")
    trained = jkbench("train", "--task", "small.toml")
    assert "% on its test images, weights" in trained
    assert trained == jkbench("train", "--task", "small.toml")
    jkbench("export", "mine.safetensors", "--task", "small.toml")
    imported = jkbench("import", "mine.safetensors", "--task", "small.toml", "--leaderboard", "other")
    assert imported == trained
    assert "teacher vgg:8-M-8 on 3 classes of digits (10 steps)" in jkbench("list", "--leaderboard", "other")
    (work / "other/teachers/teacher-0.safetensors").write_bytes(b"x")
    (entry, damaged) = sorted(
        json.loads(jkbench("list", "--json", "--leaderboard", "other")), key=lambda e: e["damaged"]
    )
    assert damaged["damaged"]
    assert entry["recipe"]["architecture"] == "vgg:8-M-8"
    with pytest.raises(UserError, match="it has no teacher"):
        jkbench("train", "--task", "digits-noise")


class Stopped(Exception):
    pass


def stop_at(step: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done == step:
            raise Stopped

    return progress


@pytest.mark.parametrize("stops", [(7,), (3, 4, 25)])
def test_a_teacher_that_was_stopped_goes_on_to_the_same_bits(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stops: tuple[int, ...]
) -> None:
    monkeypatch.setattr("jkbench.engine.checkpoint.SECONDS", 0.0)
    found, data, _ = teacher_of(index, tmp_path / "whole")
    whole = networks.load(tmp_path / "whole", found, data, small.CPU)
    partial = networks.path(tmp_path / "parts", found).with_suffix(".partial")
    for step in stops:
        with pytest.raises(Stopped):
            networks.obtain(tmp_path / "parts", found, data, small.CPU, stop_at(step))
        assert partial.is_file()
    seen: list[int] = []
    parts = networks.obtain(tmp_path / "parts", found, data, small.CPU, lambda done, total: seen.append(done))
    assert seen[0] == stops[-1]  # the step in which it was stopped had not been kept yet
    assert parts.weights == whole.weights
    assert not partial.exists()


@pytest.mark.parametrize("damage", ["half", "another recipe", "no checkpoint at all"])
def test_a_checkpoint_that_is_none_of_this_training_is_not_gone_on_from(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setattr("jkbench.engine.checkpoint.SECONDS", 0.0)
    found, data, _ = teacher_of(index, tmp_path / "whole")
    other = dataclasses.replace(found, seed=1) if damage == "another recipe" else found
    with pytest.raises(Stopped):
        networks.obtain(tmp_path / "parts", other, data, small.CPU, stop_at(9))
    partial = networks.path(tmp_path / "parts", other).with_suffix(".partial")
    content = partial.read_bytes()
    mine = networks.path(tmp_path / "parts", found).with_suffix(".partial")
    mine.write_bytes(
        {"half": content[: len(content) // 2], "another recipe": content, "no checkpoint at all": b"x"}[damage]
    )
    with pytest.warns(CheckpointWarning, match="restarting"):
        again = networks.obtain(tmp_path / "parts", found, data, small.CPU)
    assert again.weights == networks.load(tmp_path / "whole", found, data, small.CPU).weights
