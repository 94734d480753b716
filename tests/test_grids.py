"""The same small grid on every engine: worker processes, a Ray cluster that loses a node, a Slurm that pre-empts a job.

``make grids`` runs these tests. The nodes of Ray are processes of this machine. Where Slurm's packages are missing, its
tests are skipped, and submitit alone starts the jobs in `test_jobs_without_slurm_give_the_records_of_the_serial_run`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import one_node_slurm
import pytest
from conftest import ROOT
from user_folder import make_folder

from jkbench.errors import UserError
from jkbench.execute import backends
from jkbench.execute.progress import Progress
from jkbench.execute.request import NO_REQUEST, Request
from jkbench.execute.run import make_plan, run
from jkbench.execute.session import Resources, Session, prepare
from jkbench.planning import Plan
from jkbench.records.schema import Record
from jkbench.records.store import RecordSet, Store

pytestmark = [pytest.mark.grids, pytest.mark.processes]
METHODS = "distill,mine"
METHOD = '''"""On a node, each trial tells that it begins, and the first of all waits to be caught in the middle."""
import os
import time
from pathlib import Path
from jkbench import Method, cross_entropy

def begun(node):
    mark = Path(os.environ["MARK"])
    with open(f"{mark}.log", "a") as log:
        log.write("x")
    try:
        with open(mark, "x") as first:
            first.write(node)
    except FileExistsError:
        return
    while not Path(f"{mark}.go").exists():
        time.sleep(0.1)

class Mine(Method):
    tasks = {"distillation"}

    def loss(self, batch, student, teacher):
        if batch.step == 0 and (node := os.environ.get("NODE") or os.environ.get("SLURM_JOB_ID")):
            begun(node)
        yield "ce", cross_entropy(student.logits, batch.y)
'''


def told(records: list[Record]) -> dict[str, Any]:
    """All but timings."""
    return {each.id: each.model_dump(exclude={"cost", "created"}) for each in records}


@pytest.fixture
def grid(work: Path) -> Path:
    """A user's folder with the method."""
    (work / "methods/mine.py").write_text(METHOD)
    return work


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the serial run records."""
    work = make_folder(tmp_path_factory.mktemp("serial"))
    (work / "methods/mine.py").write_text(METHOD)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(work)
        run(make_plan("small.toml", METHODS, folder=work / "board"), Resources(executor="serial"), show=False)
    records = list(Store(work / "board").read("small").records.values())
    assert len(records) == 8
    assert {each.status for each in records} == {"ok"}
    return told(records)


@contextmanager
def prepared(grid: Path, executor: str, request: Request = NO_REQUEST) -> Iterator[tuple[Plan, Session]]:
    """A plan, and workers that are ready for it."""
    plan, resources = make_plan("small.toml", METHODS, folder=grid / "board").plan, Resources(executor=executor)
    with backends.start(executor, 1, request) as workers:
        yield plan, prepare(plan, grid / "board", resources, workers, Progress(False), RecordSet())


def wait_for(file: Path) -> str:
    """Where the trial runs that waits."""
    deadline = time.monotonic() + 300
    while not (file.is_file() and file.read_text()):
        assert time.monotonic() < deadline, f"no trial has written {file.name}"
        time.sleep(0.2)
    return file.read_text()


def test_processes_give_the_records_of_the_serial_run(grid: Path, serial: dict[str, Any]) -> None:
    with prepared(grid, "processes") as (plan, session):
        assert told(list(session.run(plan.trials, {}, None))) == serial


class Nodes:
    """A Ray cluster whose nodes have a name and a cache of their own."""

    def __init__(self, folder: Path) -> None:
        from ray.cluster_utils import Cluster

        self.folder, self.mark = folder, folder / "mark"
        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        self.by_name = {name: self.add(name) for name in ("first", "second")}

    def add(self, name: str, **variables: str) -> Any:
        """One more node, with one CPU."""
        own = {"NODE": name, "MARK": str(self.mark), "JKBENCH_CACHE": str(self.folder / name)}
        return self.cluster.add_node(num_cpus=1, env_vars=own | variables)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """Three, one of which runs no trials."""
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'jkbench[ray]'")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES", str(100 * 2**20))
        patch.setenv("RAY_health_check_failure_threshold", "2")  # a node is lost after seconds
        made = Nodes(tmp_path_factory.mktemp("nodes"))
        yield made
        ray.shutdown()
        made.cluster.shutdown()


def test_a_ray_cluster_that_loses_a_node_gives_the_records_of_the_serial_run(
    nodes: Nodes, grid: Path, serial: dict[str, Any]
) -> None:
    """Its node is killed in the middle of a trial; plugin file and teacher are gone here by then."""
    with prepared(grid, "ray", Request(address=nodes.cluster.address)) as (plan, session):
        assert session.machine(plan.trials, {}).jobs == 4
        coming = session.run(plan.trials, {}, None)
        records = [next(coming)]
        shutil.rmtree(grid / "board/teachers")
        (grid / "methods/mine.py").unlink()
        nodes.cluster.remove_node(nodes.by_name[wait_for(nodes.mark)], allow_graceful=False)
        records += coming
    assert told(records) == serial
    assert not any(each.cost.alone for each in records if each.cost)


def test_a_ray_node_with_another_library_is_named_before_the_first_trial(nodes: Nodes, grid: Path) -> None:
    other = nodes.folder / "numpy-0.1.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Name: numpy\nVersion: 0.1\n")
    added = nodes.add("third", PYTHONPATH=os.pathsep.join([str(nodes.folder), str(ROOT)]))
    try:
        with pytest.raises(UserError, match=r"node \S+: numpy 0\.1 instead of"):
            backends.start("ray", 1, Request(address=nodes.cluster.address)).__enter__()
    finally:
        nodes.cluster.remove_node(added, allow_graceful=True)


def test_jobs_without_slurm_give_the_records_of_the_serial_run(grid: Path, serial: dict[str, Any]) -> None:
    """Submitit starts the jobs here."""
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'jkbench[slurm]'")
    with prepared(grid, "slurm", Request(manager="local", trials=4)) as (plan, session):
        assert told(list(session.run(plan.trials, {}, None))) == serial


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Of one node with one CPU; the folder of its logs."""
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'jkbench[slurm]'")
    if reason := one_node_slurm.why_not():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("slurm")
    with one_node_slurm.started(folder):
        yield folder


def test_slurm_gives_the_records_of_the_serial_run_where_a_job_is_pre_empted(
    slurm: Path, grid: Path, serial: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job is pre-empted in the middle of a trial."""

    def pre_empt() -> int:
        wait_for(grid / "mark")
        urgent = ["sbatch", "--partition=urgent", "--wait", "--wrap=sleep 1"]
        return subprocess.run(urgent, cwd=slurm, capture_output=True).returncode

    monkeypatch.setenv("MARK", str(grid / "mark"))
    request = Request(partition="low", trials=4, memory=1)
    with prepared(grid, "slurm", request) as (plan, session), ThreadPoolExecutor(1) as pool:
        ended = pool.submit(pre_empt)
        records = list(session.run(plan.trials, {}, None))
        assert ended.result() == 0
    assert told(records) == serial
    assert "preempted JobId=" in (slurm / "slurmctld.log").read_text()


def driver(grid: Path) -> subprocess.Popen[str]:
    """The command, in a process of its own; its trials tell into ``mark``."""
    words = "run --task small.toml --methods distill,mine --leaderboard board --executor slurm"
    requests = ("--request", "partition=low", "--request", "trials=4", "--request", "memory=1")
    return subprocess.Popen(
        [sys.executable, "-m", "jkbench", *words.split(), *requests],
        cwd=grid, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"MARK": str(grid / "mark")},
    )  # fmt: skip


def in_queue() -> list[str]:
    """The jobs that wait or run."""
    asked = ["squeue", "--me", "--noheader", "--array", "--format=%i"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()


def test_a_killed_command_finds_its_slurm_jobs_again_and_runs_nothing_twice(
    slurm: Path, grid: Path, serial: dict[str, Any]
) -> None:
    killed = driver(grid)
    wait_for(grid / "mark")
    before = in_queue()
    killed.kill()
    killed.communicate()
    assert in_queue() == before != []
    (grid / "mark.go").touch()
    again = driver(grid)
    _, said = again.communicate()
    assert again.returncode == 0, said
    assert told(list(Store(grid / "board").read("small").records.values())) == serial
    assert (grid / "mark.log").read_text() == "x" * 4
    assert not list((grid / "board/jobs").glob("*.pkl"))


def test_ctrl_c_cancels_the_slurm_jobs_and_says_what_remains(slurm: Path, grid: Path) -> None:
    stopped = driver(grid)
    wait_for(grid / "mark")
    assert in_queue()
    stopped.send_signal(signal.SIGINT)
    _, said = stopped.communicate()
    assert stopped.returncode == 130, said
    assert "interrupted: 0 of 8 trials are done" in said
    assert "Traceback" not in said
    one_node_slurm.wait_until(lambda: not in_queue(), slurm / "slurmctld.log")


def test_a_partition_that_does_not_exist_is_refused(slurm: Path) -> None:
    with pytest.raises(UserError, match="there is no partition 'lwo'"):
        backends.start("slurm", 1, Request(partition="lwo")).__enter__()
