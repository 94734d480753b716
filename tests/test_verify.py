"""An edited record is caught: by itself, by its predictions and the images, or by training it again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT

from jkbench.cli import cli
from jkbench.execute.session import Resources
from jkbench.execute.verify import LEVELS, Level, Verified, Wanted, of_id, repeated, verify
from jkbench.plugins.discovery import Index
from jkbench.records.schema import Record, pack_labels
from jkbench.records.store import Store, encode

TASK = "digits-fewshot"
ALONE = Resources(executor="serial")


def real(method: str) -> Record:
    """A committed record at one image per class."""
    records = Store(ROOT / "leaderboard").read(TASK).records.values()
    return next(r for r in records if (r.label, r.shots, r.seed, r.split) == (method, 1, 0, "test"))


def board(folder: Path, *records: Record | dict[str, Any]) -> Path:
    """A leaderboard folder with these records, as they are, and the suite's teachers."""
    for record in records:
        content = json.loads(encode(record)) if isinstance(record, Record) else record
        path = folder / "records" / content["task"] / f"{content['method']}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as lines:
            lines.write(json.dumps(content) + "\n")
    shutil.copytree(ROOT / "leaderboard/teachers", folder / "teachers")
    return folder


def edited(record: Record, **changes: Any) -> dict[str, Any]:
    """A record's JSON with other fields; ``part__field`` is a field of a part."""
    content: dict[str, Any] = json.loads(encode(record))
    for name, value in changes.items():
        part, _, field = name.rpartition("__")
        (content[part] if part else content)[field] = value
    return content


def verified(folder: Path, index: Index, level: Level = "schema", **wanted: Any) -> Verified:
    return verify(folder, index, Wanted(level, **wanted), ALONE, show=False)


def told(found: Verified) -> str:
    return "\n".join(map(str, found.faults))


@pytest.mark.parametrize("level", LEVELS)
def test_committed_records_hold(tmp_path: Path, index: Index, level: Level) -> None:
    found = verified(board(tmp_path, real("scratch"), real("jacobian")), index, level, sample=1)
    assert not found.faults
    assert found.counts["checked against their schema and bounds"] == 2
    assert found.counts["scored again"] == (0 if level == "schema" else 2)
    assert len(found.repeats) == (level == "rerun")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"metrics__accuracy": 0.999}, "predictions do not give its accuracy of 0.999"),
        ({"metrics__agreement": 0.5001}, "is not a count of 800 images"),
        ({"metrics__agreement": 0.25}, "agreement of 0.25 is impossible"),
        ({"metrics__nll": 0.01}, "nll of 0.01 is impossible"),
        ({"metrics__ece": 1.5}, "ece 1.5 is not between 0 and 1"),
        ({"parameters": {"jac": 1.0}}, "its id is not the hash"),
        ({"seed": 1}, "its id is not the hash"),
        ({"code": "0" * 16}, "its id is not the hash"),
        ({"reference": True}, "it says reference = True"),
        ({"task_version": 9}, "it names version 9"),
        ({"teacher__weights": "0" * 16}, "teacher's weights is 0000000000000000"),
        ({"teacher__accuracy": 0.5}, "teacher's accuracy is 0.5"),
        ({"cost__steps": 7}, "it took 7 steps; the budget is 300"),
        ({"cost__seconds": 0.01}, "do not fit into 0.01 seconds"),
        ({"data__train_images": 20}, "trained on 20 images, not on 1 of each of 10 classes"),
        ({"predictions": "eNo="}, "predictions cannot be unpacked"),
        ({"predictions": pack_labels([3] * 800)}, "predictions do not give its accuracy"),
        ({"predictions": pack_labels([3])}, "predictions are not 800 labels below 10"),
        ({"curve_steps": [5, 4]}, "steps of its curves do not increase"),
        ({"status": "failed"}, "it is failed and has metrics"),
        ({"pairing": None}, "it is finished and has no pairing"),
        ({"schema_version": 2}, "a record of schema 2, which this version does not read"),
        ({"method": "../x"}, "'../x' is not valid here"),
        ({"label": "x\u0007"}, "is not valid here"),
    ],
)
def test_an_edited_record_is_caught(tmp_path: Path, index: Index, changes: dict[str, Any], why: str) -> None:
    content = edited(real("jacobian"), **changes)
    folder = board(tmp_path, content | {"method": "jacobian"})
    (folder / "records" / TASK / "jacobian.jsonl").write_text(json.dumps(content) + "\n")
    assert why in told(verified(folder, index))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"metrics__agreement": 0.7175}, "its agreement is 0.7175; its predictions give 0.71125"),
        ({"pairing__subset": "0" * 16}, "its subset (0000000000000000) is not what its seed gives"),
        ({"pairing__order": "0" * 16}, "its order (0000000000000000) is not what its seed gives"),
        ({"data__content": "0" * 16}, "differ from those here"),
        (
            {"data__scored_per_class": [81, 79, *[80] * 8], "metrics__accuracy": 0.71},
            "its accuracy is 0.71; its predictions give 0.71125",
        ),
    ],
)
def test_what_only_the_images_show_is_caught_by_scoring_again(
    tmp_path: Path, index: Index, changes: dict[str, Any], why: str
) -> None:
    folder = board(tmp_path, edited(real("jacobian"), **changes))
    assert why not in told(verified(folder, index))
    assert why in told(verified(folder, index, "rescore"))


def test_a_coherent_forgery_is_caught_by_training_again(tmp_path: Path, index: Index) -> None:
    """All that is stored agrees: perfect predictions, and the numbers that follow from them."""
    honest = real("scratch")
    assert honest.teacher is not None
    perfect = pack_labels(np.repeat(np.arange(10), 80).tolist())
    metrics = honest.metrics | {"accuracy": 1.0, "agreement": honest.teacher.accuracy}
    folder = board(tmp_path, edited(honest, predictions=perfect, metrics=metrics))
    assert not verified(folder, index, "rescore").faults
    found = verified(folder, index, "rerun", sample=1)
    assert "trained again: its accuracy is 0." in told(found)


def test_only_the_records_that_another_folder_lacks(tmp_path: Path, index: Index) -> None:
    one, two = real("scratch"), real("jacobian")
    old = board(tmp_path / "old", one)
    new = board(tmp_path / "new", edited(one, metrics__nll=0.9), two, real("distill"))
    assert verified(new, index, lacking=old).counts["checked against their schema and bounds"] == 3
    assert verified(new, index, lacking=new).counts["checked against their schema and bounds"] == 0


def test_a_data_set_that_is_missing_is_said_and_skipped(
    tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JKBENCH_DATA", str(tmp_path / "no-data"))
    record = next(iter(Store(ROOT / "leaderboard").read("cifar100-fewshot-short").records.values()))
    found = verified(board(tmp_path / "board", record), index, "rescore")
    assert not found.faults
    assert found.skipped == ["cifar100-fewshot-short: not scored again: the images of cifar100 are missing"]


def test_a_damaged_or_renamed_network_is_a_fault(tmp_path: Path, index: Index) -> None:
    folder = board(tmp_path, real("scratch"))
    first, second, *_ = sorted((folder / "teachers").glob("*.safetensors"))
    first.write_bytes(first.read_bytes()[:-8])
    second.rename(second.with_name("teacher-0000000000000000.safetensors"))
    said = told(verified(folder, index))
    assert f"the network in {first} is damaged" in said
    assert "teacher-0000000000000000.safetensors does not have the recipe in its name" in said


def test_a_record_is_trained_again_from_its_id_alone(tmp_path: Path, index: Index) -> None:
    folder = board(tmp_path, real("scratch"))
    record, known = of_id(folder, index, real("scratch").id[:9])
    found = repeated(folder, record, known, ALONE, 0.02, show=False)
    assert not list(found.faults)
    assert found.second.id == record.id
    assert found.second.pairing == record.pairing or len(found.machines) > 1
    assert not (folder / "inflight").exists()


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = board(tmp_path, edited(real("scratch"), metrics__accuracy=0.999))
    where = ["--leaderboard", str(folder), "--in-process"]
    assert cli.main(["verify", *where, "--json"], standalone_mode=False) == 1
    faults = json.loads(capsys.readouterr().out)["faults"]
    assert {fault["trial"] for fault in faults} == {real("scratch").id}
    assert cli.main(["verify", *where, "--level", "schema"], standalone_mode=False) == 1
    assert "wrong: digits-fewshot: scratch, 1 per class, seed 0" in capsys.readouterr().out
    assert cli.main(["rerun", real("scratch").id, *where], standalone_mode=False) == 1
    assert "wrong: its accuracy is 0." in capsys.readouterr().out
