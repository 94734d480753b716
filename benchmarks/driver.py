"""What the driver of a large grid takes: ``python benchmarks/driver.py [--trials 10000] [--workers 64] [--seconds 2]``.

A make-believe Ray cluster runs trials that sleep; each answers with a committed record under its own id. All else is
real: the plan, `jkbench.execute.backends.ray`, the store, and the table at the end. Printed are the driver's own
seconds a trial (of the processor, so that other work on the machine does not count), how much longer the run took than
the sleeping alone, its memory after a tenth of the trials and after all, and what planning and the table took.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import pickle
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import psutil

from jkbench.execute.backends import ray, ray_node
from jkbench.execute.progress import Progress
from jkbench.execute.request import Request
from jkbench.execute.run import make_plan
from jkbench.execute.session import Resources, Session
from jkbench.planning import Trial, record_fields
from jkbench.records.schema import Record
from jkbench.records.store import Store

HOME = Path(__file__).parent.parent
METHODS = ("scratch", "distill", "attention", "jacobian")
SHOTS = (1, 5, 10, 50)


class Cluster(ModuleType):
    """What `jkbench.execute.backends.ray` calls of Ray: ``workers`` trials at a time sleep for ``seconds``."""

    def __init__(self, workers: int, seconds: float) -> None:
        super().__init__("ray")
        self._seconds = seconds
        self._free = [0.0] * workers
        """When each worker is free, as a heap."""
        self._due: dict[int, float] = {}
        self._answers: dict[int, Any] = {}
        self._workers, self._next = workers, 0
        self._templates = {
            (record.method, record.shots): record.model_dump()
            for method in METHODS
            for record in map(Record.model_validate_json, _lines(method))
        }
        self.remote = lambda function: SimpleNamespace(
            options=lambda **_: SimpleNamespace(remote=self._starter(function))
        )

    def put(self, thing: Any) -> Any:
        """Keep something for all nodes."""
        return thing

    def nodes(self) -> list[dict[str, Any]]:
        """One, with a core a worker."""
        return [{"Alive": True, "Resources": {"CPU": self._workers}, "NodeID": "0", "NodeManagerAddress": "here"}]

    def _starter(self, function: Any) -> Any:
        def start(*arguments: Any) -> int:
            self._next += 1
            pickle.dumps(arguments)  # as Ray sends them
            began = max(time.monotonic(), heapq.heappop(self._free))
            trials = [each for each in arguments if isinstance(each, Trial)]
            self._due[self._next] = began + (self._seconds if function is ray_node.trial else 0.0)
            heapq.heappush(self._free, self._due[self._next])
            self._answers[self._next] = self._record(*trials) if function is ray_node.trial else ""
            return self._next

        return start

    def _record(self, trial: Trial) -> Record:
        return Record(**self._templates[trial.row.plugin.name, trial.shots] | record_fields(trial))

    def wait(self, running: Sequence[int], num_returns: int) -> tuple[list[int], list[int]]:
        """Sleep until the first of these has ended."""
        first = min(running, key=self._due.__getitem__)
        time.sleep(max(0.0, self._due[first] - time.monotonic()))
        return [first], []

    def get(self, answer: int) -> Any:
        """What has ended."""
        del self._due[answer]
        return self._answers.pop(answer)


def _lines(method: str) -> list[str]:
    file = HOME / f"leaderboard/records/digits-fewshot/{method}.jsonl"
    return [line for line in file.read_text(encoding="utf-8").splitlines() if json.loads(line)["status"] == "ok"]


@contextmanager
def pretended(cluster: Cluster) -> Iterator[None]:
    """Ray is this cluster."""
    strategies = ModuleType("ray.util.scheduling_strategies")
    strategies.NodeAffinitySchedulingStrategy = lambda *_, **__: None  # type: ignore[attr-defined]
    sys.modules |= {"ray": cluster, "ray.util": ModuleType("ray.util"), strategies.__name__: strategies}
    yield
    for name in ("ray", "ray.util", strategies.__name__):
        del sys.modules[name]


def main() -> None:
    """Print one line a stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=2.0)
    given = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(HOME / "leaderboard/teachers", folder / "teachers")
        seeds = range(given.trials // len(METHODS) // len(SHOTS))
        began = time.process_time()
        planned = make_plan("digits-fewshot", ",".join(METHODS), SHOTS, seeds, folder=folder)
        print(f"planning            {time.process_time() - began:8.1f} s of the processor", flush=True)
        drive(planned.plan.trials, planned.store, given.workers, given.seconds)
        began = time.process_time()
        loaded = planned.store.fold("digits-fewshot")
        print(
            f"{len(loaded.records):6d} records kept {time.process_time() - began:8.1f} s of the processor", flush=True
        )


def drive(trials: list[Trial], store: Store, jobs: int, seconds: float) -> None:
    """Run the trials, and print what the driver took."""
    memory, used = [], psutil.Process().memory_info
    with pretended(Cluster(jobs, seconds)):
        workers = ray.Workers(1, Request())
        session = Session(workers, Progress(False), Resources(executor="ray"), store.folder, None, "cpu", None)
        busy, began = time.process_time(), time.monotonic()
        for done, _ in enumerate(session.run(trials, {}, store), 1):
            if done in (len(trials) // 10, len(trials)):
                memory.append(used().rss / 2**20)
        took, busy = time.monotonic() - began, time.process_time() - busy
    asleep = seconds * len(trials) / jobs
    print(f"driver              {1000 * busy / len(trials):8.2f} ms of the processor a trial")
    print(f"whole run           {took / asleep:8.2f} × the {asleep:.0f} s that {jobs} workers sleep")
    print(
        f"memory              {memory[1] / memory[0]:8.2f} × the {memory[0]:.0f} MB after a tenth of the trials",
        flush=True,
    )


if __name__ == "__main__":
    main()
