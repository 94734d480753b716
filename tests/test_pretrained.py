"""Teachers that somebody else has trained: timm's weights under the suite's names, taken whole or refused."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import timm
import torch
from conftest import ROOT
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from jkbench import planning as plan
from jkbench.cli import cli
from jkbench.engine import images as image_sets
from jkbench.engine import teacher as networks
from jkbench.engine.setup import Where, check_fit, make_ready, trained_networks
from jkbench.errors import UserError
from jkbench.files import data_folder
from jkbench.models.network import build
from jkbench.models.pretrained import pretrained_facts, pretrained_state
from jkbench.plugins.discovery import discover
from jkbench.records import tasks as recorded_tasks
from jkbench.records import teachers
from jkbench.records.store import Store
from jkbench.records.weights import is_ours
from jkbench.tasks.task import Pretrained, StudentSpec, Task, TeacherSpec
from jkbench.tasks.task import load as load_task

MODEL = "test_efficientnet.r160_in1k"
OTHER = "test_byobnet.r160_in1k"
DATASET = '''"""Noise in three colours."""
import numpy as np
from jkbench import Dataset, carve


class Colours(Dataset):
    classes = ("one", "two")
    size: int = 32

    def load(self):
        stream = np.random.default_rng(0)
        images = stream.integers(0, 256, (40, self.size, self.size, 3), dtype=np.uint8)
        return carve(images, np.arange(40) % 2, validation=4, test=4)
'''
TASK = """
name = "colours"
version = 1
kind = "transfer"
title = "Colours"
shots = [2]
seeds = 1
[target]
dataset = "colours"
size = 48
[teacher]
architecture = "timm:MODEL"
pretrained = { source = "ImageNet-1k" }
[student]
architecture = "timm:MODEL"
pretrained = { source = "ImageNet-1k" }
training = { learning_rate = 1e-3, steps = 2, batch = 4 }
""".replace("MODEL", MODEL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JKBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("JKBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets/colours.py").write_text(DATASET)
    (tmp_path / "colours.toml").write_text(TASK)
    return tmp_path


def weights(file: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    model = timm.create_model(MODEL, pretrained=False)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()  # weights that a fresh network does not have
    save_file(model.state_dict(), file)
    return file


def test_our_network_with_timms_weights_has_timms_logits(tmp_path: Path) -> None:
    file = weights(tmp_path / "w.safetensors")
    state = pretrained_state(f"timm:{MODEL}", file)
    ours = build(f"timm:{MODEL}", 3, 48, 1000, seed=5).eval()
    ours.load_state_dict(state)
    theirs = timm.create_model(MODEL, pretrained=False).eval()
    theirs.load_state_dict(load_file(file))
    x = torch.randn(2, 3, 48, 48)
    assert torch.allclose(ours(x).logits, theirs(x), atol=1e-5)


def test_preprocessing_is_the_models_own(folder: Path) -> None:
    task = load_task("colours.toml")
    data = image_sets.of_task(task, discover([]).datasets())
    facts = timm.get_pretrained_cfg(MODEL)
    assert data.normalisation[0].flatten().tolist() == pytest.approx(facts.mean)
    assert data.normalisation[1].flatten().tolist() == pytest.approx(facts.std)
    assert data.outputs == facts.num_classes == 1000
    assert data.target.size == (3, 48)


def test_a_whole_run_from_a_file_of_timms(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Import, train the rows of the paper, report: the oracle starts from the student's own weights."""
    file = weights(folder / "w.safetensors")
    cli.main(["teacher", "import", "--task", "colours.toml", str(file)], standalone_mode=False)
    assert "pre-trained on ImageNet-1k" in capsys.readouterr().out
    cli.main(["teacher", "import", "--task", "colours.toml", str(file)], standalone_mode=False)  # once more is no harm
    cli.main(
        ["run", "--task", "colours.toml", "--methods", "scratch,lwf,lwf-jacobian,attention,finetune", "--jobs", "1"],
        standalone_mode=False,
    )
    records = list(Store(folder / "leaderboard").read("colours").records.values())
    assert {record.status for record in records} == {"ok"}, [record.message for record in records]
    assert {record.teacher.accuracy for record in records if record.teacher} == {None}
    state = pretrained_state(f"timm:{MODEL}", file)
    starts = {record.method: record.started_from for record in records}
    assert starts == {
        "scratch": None, "lwf": None, "lwf-jacobian": None, "attention": None,
        "finetune": networks.weights_hash(state),
    }  # fmt: skip
    cli.main(["leaderboard"], standalone_mode=False)
    page = (folder / "leaderboard/colours.md").read_text()
    assert "pre-trained on ImageNet-1k, weights" in page
    assert "an oracle starts from its weights of ImageNet-1k" in page
    capsys.readouterr()
    cli.main(["teacher", "list"], standalone_mode=False)
    assert f"pre-trained timm:{MODEL} on ImageNet-1k, weights" in capsys.readouterr().out
    assert not list((folder / "leaderboard/teachers").glob("*.safetensors")), "what everybody has is not kept twice"
    assert len(list((data_folder() / "weights").glob("*.safetensors"))) == 1, "teacher and student share one file"


def test_another_network_of_the_same_name_is_refused(folder: Path) -> None:
    cli.main(["teacher", "import", "--task", "colours.toml", str(weights(folder / "a"))], standalone_mode=False)
    with pytest.raises(UserError, match="another network of the same recipe"):
        cli.main(["teacher", "import", "--task", "colours.toml", str(weights(folder / "b", 1))], standalone_mode=False)


def test_a_task_may_name_the_file_and_its_place_changes_no_hash(folder: Path) -> None:
    file = weights(folder / "w.safetensors")
    named = TASK.replace(
        'pretrained = { source = "ImageNet-1k" }', f'pretrained = {{ source = "ImageNet-1k", weights = "{file}" }}', 1
    )
    plain = load_task("colours.toml")
    (folder / "colours.toml").write_text(named)
    task = load_task("colours.toml")
    assert task.protocol == plain.protocol
    datasets = discover([]).datasets()
    made = teachers.of_task(task, datasets)
    assert made is not None
    found = networks.obtain(folder, made, image_sets.of_task(task, datasets).source, torch.device("cpu"))
    state = pretrained_state(f"timm:{MODEL}", file)
    assert found.weights == networks.weights_hash(state)
    assert not found.copy().training


def test_a_named_file_is_the_teacher_whatever_is_kept_of_its_architecture(folder: Path) -> None:
    """Two files are two teachers; a file that is not there is refused before anything is trained."""
    plain = TASK.replace(
        'pretrained = { source = "ImageNet-1k" }',
        'pretrained = { source = "ImageNet-1k", weights = "own.safetensors" }',
        1,
    )
    (folder / "colours.toml").write_text(plain)
    datasets, found = discover([]).datasets(), []
    with pytest.raises(UserError, match=r"the weights .*own\.safetensors that the task names cannot be read"):
        teachers.of_task(load_task("colours.toml"), datasets)
    for seed in (0, 1):
        weights(folder / "own.safetensors", seed)
        teachers._hash_of_file.cache_clear()
        teachers._recipe.cache_clear()
        task = load_task("colours.toml")
        made = teachers.of_task(task, datasets)
        assert made is not None
        kept = networks.obtain(folder, made, image_sets.of_task(task, datasets).source, torch.device("cpu"))
        found.append((made.hash, kept.weights))
    assert found[0][0] != found[1][0]
    assert found[0][1] != found[1][1]


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_records_of_another_named_file_are_not_taken_for_the_present_ones(
    folder: Path, capsys: pytest.CaptureFixture[str], role: str
) -> None:
    """What the task names is the teacher, and what the oracle starts from, even where nothing else is missing."""
    head, _, tail = TASK.partition("[student]")
    named = 'source = "ImageNet-1k", weights = "FILE" }'
    command = ["run", "--task", "colours.toml", "--methods", "lwf,finetune", "--jobs", "1"]
    ran, starts, teachers = [], [], []
    for file in ("a", "b", "b"):
        weights(folder / file, ord(file))
        changed = {"teacher": head, "student": tail}
        changed[role] = changed[role].replace('source = "ImageNet-1k" }', named.replace("FILE", file))
        other = "student" if role == "teacher" else "teacher"
        weights(folder / "same", 7)
        changed[other] = changed[other].replace('source = "ImageNet-1k" }', named.replace("FILE", "same"))
        (folder / "colours.toml").write_text(changed["teacher"] + "[student]" + changed["student"])
        capsys.readouterr()
        cli.main(["plan", "--task", "colours.toml", "--methods", "lwf,finetune", "--json"], standalone_mode=False)
        planned = json.loads(capsys.readouterr().out)["to_run"]
        assert cli.main(command, standalone_mode=False) == 0
        err = capsys.readouterr().err
        ran.append(planned)
        assert f"{2 - planned} done, {planned} to run" in err
        records = {r.method: r for r in Store(folder / "leaderboard").read("colours").records.values()}
        starts.append(records["finetune"].started_from)
        assert records["lwf"].teacher is not None
        teachers.append(records["lwf"].teacher.weights)
    assert ran == [2, 2 if role == "teacher" else 1, 0]
    assert (len(set(starts)), len(set(teachers))) == ((1, 2) if role == "teacher" else (2, 1))


def test_the_oracles_source_head_is_its_own(folder: Path) -> None:
    """Its ImageNet classifier is the head for the teacher's outputs, where both know the same classes."""
    file = weights(folder / "w.safetensors")
    cli.main(["teacher", "import", "--task", "colours.toml", str(file)], standalone_mode=False)
    task, index = load_task("colours.toml"), discover([])
    (trial,) = plan.make(task, index, "finetune").trials
    data = image_sets.of_task(task, index.datasets())
    where = Where(torch.device("cpu"), folder / "leaderboard")
    ready = make_ready(trial, where.device, data, trained_networks(trial, where, data))
    own, student = pretrained_state(f"timm:{MODEL}", file), ready.student.state_dict()
    assert torch.equal(student["teacher_head.weight"], own["head.weight"])
    assert torch.equal(student["teacher_head.bias"], own["head.bias"])
    assert student["head.weight"].shape[0] == 2, "the head of the labels is the seed's own"


def test_a_kept_copy_of_a_task_does_not_say_where_its_weights_were(folder: Path) -> None:
    weights(folder / "own.safetensors")
    (folder / "colours.toml").write_text(
        TASK.replace('source = "ImageNet-1k" }', 'source = "ImageNet-1k", weights = "own.safetensors" }', 1)
    )
    board = folder / "leaderboard"
    recorded_tasks.keep(*recorded_tasks.planned("colours.toml", board), board)
    kept = folder / "leaderboard/tasks/colours.toml"
    assert "weights" not in kept.read_text()
    assert load_task(str(kept)).protocol == load_task("colours.toml").protocol


def test_damaged_missing_and_foreign_weights_are_refused(folder: Path) -> None:
    file = weights(folder / "w.safetensors")
    with pytest.raises(UserError, match="there is no file"):
        pretrained_state(f"timm:{MODEL}", folder / "nothing")
    cut = folder / "cut.safetensors"
    cut.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(UserError, match="are damaged"):
        pretrained_state(f"timm:{MODEL}", cut)
    other = folder / "other.safetensors"
    save_file(timm.create_model("test_resnet", pretrained=False).state_dict(), other)
    with pytest.raises(UserError, match=f"are not those of {MODEL}") as caught:
        pretrained_state(f"timm:{MODEL}", other)
    assert "timm's own names" in caught.value.hint


def test_weights_that_cannot_be_fetched_say_how_to_bring_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(name: str, pretrained: bool) -> None:
        raise OSError("We couldn't connect\nand more")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(UserError, match="cannot be downloaded: OSError: We couldn't connect") as caught:
        pretrained_state(f"timm:{MODEL}", None)
    assert "jkbench teacher import" in caught.value.hint


def test_models_without_weights_and_unknown_ones_are_refused() -> None:
    with pytest.raises(UserError, match="no timm model"):
        pretrained_facts("timm:resnet1234")
    with pytest.raises(UserError, match="has no trained weights"):
        pretrained_facts("timm:resnet18.nothing")


def test_a_task_says_one_origin_of_its_teacher() -> None:
    training = {"learning_rate": 1e-3, "steps": 1, "batch": 2}
    ready = {"source": "ImageNet-1k"}
    for wrong in ({}, {"training": training, "pretrained": ready}):
        with pytest.raises(ValidationError, match="either training or pretrained"):
            TeacherSpec(architecture="timm:resnet18", **wrong)  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="is not timm:MODEL"):
        TeacherSpec(architecture="vgg-9", pretrained=Pretrained(source="ImageNet-1k"))
    assert "pretrained" not in TeacherSpec(architecture="vgg-9", training=training).model_dump(mode="json")  # type: ignore[arg-type]
    assert "pretrained" not in StudentSpec(architecture="vgg-9", training=training).model_dump(mode="json")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (f'"timm:{MODEL}"\npretrained = {{ source = "ImageNet-1k" }}\n[student]',
         '"timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k"\npretrained = { source = "ImageNet" }\n[student]',
         "takes images of 224 pixels, not 48"),
        (f'"timm:{MODEL}"\npretrained = {{ source = "ImageNet-1k" }}\ntraining',
         '"timm:tf_efficientnet_lite0"\npretrained = { source = "ImageNet-1k" }\ntraining',
         "different normalisation"),
        (f'"timm:{MODEL}"\npretrained = {{ source = "ImageNet-1k" }}\ntraining', '"timm:inception_v3"\ntraining',
         "timm:inception_v3 does not take images of 48 pixels"),
        (f'"timm:{MODEL}"\npretrained = {{ source = "ImageNet-1k" }}\ntraining',
         '"timm:vit_tiny_patch16_224"\ntraining',
         "timm:vit_tiny_patch16_224 does not take images of 48 pixels: .*224"),
        ('kind = "transfer"', 'kind = "distillation"', "the teacher has 1000 classes, colours has 2"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_before_anything_is_trained(folder: Path, old: str, new: str, told: str) -> None:
    assert old in TASK
    (folder / "colours.toml").write_text(TASK.replace(old, new))
    task = load_task("colours.toml")
    data = image_sets.of_task(task, discover([]).datasets())
    with pytest.raises(UserError, match=told):
        check_fit(task, data, [2])


@pytest.mark.parametrize("depth", ["9", "1+7"])
def test_a_depth_that_is_not_there_is_refused_before_anything_is_trained(folder: Path, depth: str) -> None:
    weights(folder / "w.safetensors")
    cli.main(["teacher", "import", "--task", "colours.toml", "w.safetensors"], standalone_mode=False)
    with pytest.raises(UserError, match="there is no matched layer") as caught:
        cli.main(["run", "--task", "colours.toml", "--methods", f"attention[layers={depth}]"], standalone_mode=False)
    assert "matched layers: 1 " in caught.value.hint
    assert not Store(folder / "leaderboard").read("colours").records


def test_depths_in_any_order_are_one_row() -> None:
    index = discover([])
    labels = {
        plan.make(load_task("digits-transfer"), index, f"attention[layers={depth}]").rows[0].label
        for depth in ("1+2", "2+1", "2+1+2")
    }
    assert labels == {"attention[layers=1+2]"}


def test_missing_weights_of_an_oracle_are_refused_before_anything_is_trained(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And are brought by import --role student where they are another model's than the teacher's."""
    head, _, tail = TASK.partition("[student]")
    (folder / "colours.toml").write_text(head + "[student]" + tail.replace(MODEL, OTHER))
    cli.main(["teacher", "import", "--task", "colours.toml", str(weights(folder / "t"))], standalone_mode=False)
    real = timm.create_model

    def offline(name: str, pretrained: bool = False, **more: object) -> object:
        if pretrained:
            raise OSError("offline")
        return real(name, pretrained=False, **more)

    monkeypatch.setattr(timm, "create_model", offline)
    command = ["run", "--task", "colours.toml", "--methods", "scratch,finetune", "--jobs", "1"]
    with pytest.raises(UserError, match=f"the weights of {OTHER} cannot be downloaded"):
        cli.main(command, standalone_mode=False)
    assert not Store(folder / "leaderboard").read("colours").records
    torch.manual_seed(3)
    save_file(real(OTHER, pretrained=False).state_dict(), folder / "s")
    with pytest.raises(UserError, match="are not those of"):
        cli.main(["teacher", "import", "--task", "colours.toml", str(folder / "s")], standalone_mode=False)
    cli.main(
        ["teacher", "import", "--task", "colours.toml", str(folder / "s"), "--role", "student"], standalone_mode=False
    )
    assert cli.main(command, standalone_mode=False) == 0


def test_a_pretrained_student_needs_a_pretrained_teacher() -> None:
    text = (ROOT / "jkbench/tasks/flowers-transfer-lite0.toml").read_text()
    content = tomllib.loads(text)
    content["teacher"] = {"architecture": "vgg-9", "training": {"learning_rate": 1e-3, "steps": 2, "batch": 4}}
    content["source"] = {"dataset": "digits"}
    with pytest.raises(ValidationError, match="needs a pre-trained teacher"):
        Task.model_validate(content)


def test_an_oracle_is_not_run_where_its_weights_cannot_be_had(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head, _, tail = TASK.partition("[student]")
    (folder / "colours.toml").write_text(
        head + '[student]\narchitecture = "vgg:4-M-4"\n' + tail[tail.index("training") :]
    )
    cli.main(["plan", "--task", "colours.toml", "--methods", "all"], standalone_mode=False)
    out = capsys.readouterr()
    assert "vgg:4-M-4 has no weights" in out.out + out.err
    with pytest.raises(UserError, match="vgg:4-M-4 has no weights"):
        cli.main(["plan", "--task", "colours.toml", "--methods", "finetune"], standalone_mode=False)


def test_a_teacher_is_imported_before_any_image_is_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = DATASET.replace("stream =", 'raise OSError("no network")\n        stream =')
    (folder / "datasets/colours.py").write_text(text)
    file = str(weights(folder / "w.safetensors"))
    assert cli.main(["teacher", "import", "--task", "colours.toml", file], standalone_mode=False) is None
    assert "pre-trained on ImageNet-1k" in capsys.readouterr().out


def test_only_a_file_that_the_suite_wrote_is_taken_for_one(tmp_path: Path) -> None:
    plain, damaged = tmp_path / "plain.safetensors", tmp_path / "damaged.safetensors"
    save_file({"weight": torch.zeros(2)}, plain)
    damaged.write_bytes(plain.read_bytes()[:9])
    assert is_ours(next((ROOT / "leaderboard/teachers").glob("teacher-*.safetensors")))
    assert not any(map(is_ours, (plain, damaged, tmp_path / "missing.safetensors")))
