"""What a trial asks of a cluster, and what travels to a machine that shares no disk."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from unittest.mock import Mock

import pytest
import small
from user_folder import METHOD

from jkbench import planning
from jkbench.errors import UserError
from jkbench.execute import Machine, backends, failed_record, node, parcel, request
from jkbench.execute.backends import slurm
from jkbench.execute.backends.slurm_job import TrialsJob
from jkbench.execute.order import LongestFirst
from jkbench.execute.parcel import Parcel
from jkbench.execute.request import Request
from jkbench.plugins.discovery import Index, discover
from jkbench.plugins.loading import load


def test_options_come_over_the_file_beside_the_task(tmp_path: Path) -> None:
    (tmp_path / "grid.toml").write_text('[slurm]\npartition = "gpu"\nminutes = 60\n[ray]\ngpus = 0.5\n')
    assert request.of(tmp_path, "slurm", Request(minutes=5)) == Request(partition="gpu", minutes=5)
    assert request.of(tmp_path, "ray", Request()) == Request(gpus=0.5)
    assert request.of(tmp_path, "processes", Request()) == Request()


@pytest.mark.parametrize(
    ("text", "told"),
    [("partitoin=gpu", "partitoin"), ("minutes=0", "minutes"), ("gpus=-1", "gpus"), ("memory=much", "memory")],
)
def test_a_wrong_request_names_the_field_and_all_fields(text: str, told: str) -> None:
    with pytest.raises(UserError, match=f"--request: {told}: ") as caught:
        request.parse([text])
    assert "partition" in caught.value.hint


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    (tmp_path / "grid.toml").write_text("[slurm")
    with pytest.raises(UserError, match=r"grid\.toml cannot be read"):
        request.of(tmp_path, "slurm", Request())


def test_an_executor_refuses_what_it_does_not_take() -> None:
    with pytest.raises(UserError, match="--executor serial takes no address"):
        backends.start("serial", 1, Request(address="here:1"))
    with pytest.raises(UserError, match="--executor ray takes no partition") as caught:
        backends.start("ray", 1, Request(partition="gpu"))
    assert "gpus" in caught.value.hint


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install 'jkbench[ray]'")
@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:port", "ray://127.0.0.1:1"])
def test_an_address_where_nothing_answers_is_told(address: str) -> None:
    with pytest.raises(UserError, match=f"--address {address}: nothing answers there"):
        backends.start("ray", 1, Request(address=address)).__enter__()


@pytest.fixture
def packed(work: Path, index: Index) -> tuple[planning.Trial, Parcel]:
    (work / "methods/mine.py").write_text(METHOD)
    (made,) = planning.make(small.task(), discover(working=work), "mine", shots=(4,), seeds=[0]).trials
    return made, parcel.pack([made], work / "board")


def test_a_trial_runs_from_the_files_of_its_parcel(
    packed: tuple[planning.Trial, Parcel], work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files here are gone, and the same code is loaded from another machine's cache."""
    trial, made = packed
    (work / "methods/mine.py").unlink()
    monkeypatch.setenv("JKBENCH_CACHE", str(work / "theirs"))
    made.unpack()
    there = parcel.at(made.folder, trial)
    assert there.row.plugin.path.is_relative_to(work / "theirs")
    assert there.id == trial.id
    assert load(there.row.plugin).__name__ == "Mine"
    machine = parcel.at(made.folder, Machine(work / "board", work / "cache", jobs=8, task_file=(work, "x")))
    assert machine == Machine(made.folder, work / "theirs")


def test_a_file_that_was_damaged_on_its_way_is_refused(packed: tuple[planning.Trial, Parcel]) -> None:
    contents = {where: content + b"#" for where, content in packed[1].contents.items()}
    with pytest.raises(UserError, match="was damaged on its way"):
        dataclasses.replace(packed[1], contents=contents).unpack()


def test_a_machine_without_room_says_how_much_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JKBENCH_CACHE", str(tmp_path))
    assert node.lacks(1) == ""
    assert f"MiB free in {tmp_path}, where 1099511627776 are needed" in node.lacks(2**60)


def test_another_version_on_a_machine_is_named() -> None:
    here = node.versions()
    assert node.differences(here) == ""
    assert node.differences(here | {"torch": "1.0"}) == f"torch {here['torch']} instead of 1.0"


def test_a_machine_without_the_images_says_why(packed: tuple[planning.Trial, Parcel], tmp_path: Path) -> None:
    trial, _ = packed
    with backends.start("serial") as workers:
        assert node.refusal(trial, workers) == ""
        gone = {
            name: dataclasses.replace(each, path=tmp_path / "gone.py", code="") for name, each in trial.datasets.items()
        }
        assert "gone.py" in node.refusal(dataclasses.replace(trial, datasets=gone), workers)


def test_a_gpu_is_asked_for() -> None:
    assert Request(gpus=0.5).device("auto") == "cuda"
    assert Request(gpus=1).device("cpu") == Request().device("auto") == "cpu"
    with pytest.raises(UserError, match="the trials ask for no GPU"):
        Request().device("cuda")


def test_a_part_of_a_gpu_is_refused_where_jobs_have_whole_ones() -> None:
    pytest.importorskip("submitit")
    with pytest.raises(UserError, match=r"a job cannot have 0\.5 GPUs"):
        backends.start("slurm", 1, Request(gpus=0.5)).__enter__()


def test_trials_that_could_not_be_started_wait_again(index: Index) -> None:
    made = planning.make(small.task(), index, "scratch", shots=(4,), seeds=range(3)).trials
    waiting = LongestFirst(made, {})
    taken = [waiting.take(), waiting.take()]
    waiting.put_back(taken)
    assert [waiting.take().id for _ in range(3)] == [each.id for each in made]


def test_a_queue_that_takes_no_more_is_asked_again_when_a_job_has_ended(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit")
    made = planning.make(small.task(), index, "scratch", shots=(4,), seeds=range(4)).trials
    workers, asked = slurm.Workers(1, Request(trials=1)), []

    def submit(machine: Machine, jobs: list[TrialsJob], seconds: float) -> list[str]:
        asked.append(len(jobs))
        if len(asked) == 2:
            raise UserError("Slurm took no job: too many")
        return [job.trials[0].id for job in jobs]

    monkeypatch.setattr(workers, "_submit", submit)
    monkeypatch.setattr(workers, "_ended", lambda jobs: jobs[:1])
    monkeypatch.setattr(slurm, "_records", lambda job, batch: [failed_record(batch.trials[0], "")])
    records = list(workers.run(made, Machine(tmp_path, jobs=2)))
    assert sorted(each.id for each in records) == sorted(each.id for each in made)
    assert asked == [2, 1, 2]


def test_a_queue_that_takes_nothing_is_told(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    made = planning.make(small.task(), index, "scratch", shots=(4,), seeds=[0]).trials
    workers = slurm.Workers(1)
    monkeypatch.setattr(workers, "_submit", Mock(side_effect=UserError("Slurm took no job: too many")))
    with pytest.raises(UserError, match="too many"):
        next(workers.run(made, Machine(tmp_path)))
