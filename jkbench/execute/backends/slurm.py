"""A Slurm cluster, through submitit: job arrays whose jobs are put into the queue again where they are pre-empted.

Its nodes share the leaderboard folder, the plugin files and the environment with this machine. A job runs a few trials
one after the other, each in a process of `jkbench.execute.backends.processes`. What was submitted is in ``jobs/`` of
the leaderboard folder: a command that starts again finds the jobs that still run, and those that have ended meanwhile.
"""

from __future__ import annotations

import contextlib
import math
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Self

from jkbench.errors import UserError, unknown
from jkbench.execute import NOTHING, Machine, Needs, failed_record, node
from jkbench.execute.backends import Heard, ignore
from jkbench.execute.backends.cluster import ClusterWorkers
from jkbench.execute.backends.slurm_job import CallJob, TrialsJob
from jkbench.execute.order import LongestFirst
from jkbench.execute.request import NO_REQUEST, Request
from jkbench.planning import Trial
from jkbench.records.schema import Record

TAKES = frozenset({"gpus", "memory", "partition", "minutes", "trials", "queued", "python", "extra", "manager"})
LONG, START, UNKNOWN = 300.0, 300.0, 3600.0
"""Seconds of trials that make a job, that a job has beyond its trials, and that it has where no record tells."""
SPARE = 3.0
"""How many times what was measured a job asks for, in seconds and in memory."""
NAME = "jkbench"
"""Of the jobs, in squeue."""
EVERY, LAG = 2.0, 5.0
"""Seconds between two looks at the queue, and in which the result of a job that has left it gets to a shared disk."""


class Workers(ClusterWorkers):
    """What Slurm's queue takes."""

    def __init__(self, threads: int = 1, request: Request = NO_REQUEST) -> None:
        super().__init__(threads, request)
        self._jobs: dict[Any, TrialsJob] = {}
        self._versions = node.versions()

    def __enter__(self) -> Self:
        try:
            import submitit  # noqa: F401
        except ModuleNotFoundError:
            told = "--executor slurm: submitit is not installed here"
            raise UserError(told, "pip install 'jkbench[slurm]'") from None
        if self._request.gpus % 1:
            told = f"--executor slurm: a job cannot have {self._request.gpus:g} GPUs"
            raise UserError(told, "ask for whole ones; Ray shares one between trials")
        if self._request.manager == "slurm":
            self._check_partition()
        self._here.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._here.__exit__(*error)
        if self._jobs and self._request.manager == "slurm":
            with contextlib.suppress(UserError):  # what it does not reach ends by itself, and is found in ``jobs/``
                _asked("scancel", "--quiet", *(job.job_id for job in self._jobs))
        elif self._jobs:
            for job in self._jobs:
                job.cancel()

    def slots(self) -> int:
        """Jobs in the queue."""
        return self._request.queued

    def call(
        self, function: Callable[..., Any], *arguments: Any, needs: Needs = NOTHING, heard: Heard = ignore,
        limit: float | None = None,
    ) -> Any:  # fmt: skip
        """The result of a function: as a job where it takes a `Machine`, and here where it reads this one's files."""
        machine = next((each for each in arguments if isinstance(each, Machine)), None)
        if machine is None:
            return self._here.call(function, *arguments, needs=needs, heard=heard, limit=limit)
        (job,) = self._submit(machine, [CallJob(function, arguments, self._threads, needs)], UNKNOWN)
        self._jobs[job] = TrialsJob([], machine, {})
        while not self._ended([job]):
            time.sleep(EVERY)
        del self._jobs[job]
        return _result(job)

    def run(self, trials: Sequence[Trial], machine: Machine) -> Iterator[Record]:
        """Records as jobs end; `UserError` where a node cannot run them."""
        wanted = {trial.id for trial in trials}
        self._jobs = self._found(machine, wanted)
        there = {trial.id for job in self._jobs.values() for trial in job.trials}
        waiting = LongestFirst([trial for trial in trials if trial.id not in there], machine.expected)
        self._fill(waiting, machine)
        while self._jobs:
            ended = self._ended(list(self._jobs))
            for job in ended:
                yield from (record for record in _records(job, self._jobs.pop(job)) if record.id in wanted)
            if ended:
                self._fill(waiting, machine)
            else:
                time.sleep(EVERY)

    def _fill(self, waiting: LongestFirst, machine: Machine) -> None:
        """Submit as one array what the queue takes. One that is full takes the rest later."""
        seconds = max(machine.expected.values(), default=UNKNOWN)
        each = self._request.trials or max(1, int(LONG // seconds))
        batches: list[TrialsJob] = []
        there = replace(machine, jobs=1, expected={})
        while waiting and len(self._jobs) + len(batches) < machine.jobs:
            taken = [waiting.take()]
            while waiting and len(taken) < each:
                taken.append(waiting.take())
            batches.append(TrialsJob(taken, there, self._versions))
        try:
            jobs = self._submit(machine, batches, seconds * each) if batches else []
        except UserError:
            if not self._jobs:
                raise
            for batch in batches:  # later, when some of those that are there have ended
                waiting.put_back(batch.trials)
            jobs, batches = [], []
        self._jobs |= dict(zip(jobs, batches, strict=True))

    def _submit(self, machine: Machine, functions: Sequence[Any], seconds: float) -> list[Any]:
        import submitit

        executor = submitit.AutoExecutor(machine.folder / "jobs", self._request.manager, **self._python())
        asked: dict[str, Any] = {
            "name": NAME,
            "cpus_per_task": self._threads,
            "timeout_min": self._request.minutes or math.ceil((START + SPARE * seconds) / 60),
            "slurm_additional_parameters": {"requeue": True} | self._request.extra,
        }
        if memory := self._request.memory or (machine.peak_mb and SPARE * machine.peak_mb / 1024):
            asked["mem_gb"] = memory
        if self._request.gpus:
            asked["gpus_per_node"] = math.ceil(self._request.gpus)
        if self._request.partition:
            asked["slurm_partition"] = self._request.partition
        executor.update_parameters(**asked)
        try:
            with executor.batch():
                jobs: list[Any] = [executor.submit(function) for function in functions]
        except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
            told = str(error).strip().splitlines()[-1]
            hint = "ask for less with --request (queued=N: jobs at a time), or wait for the queue"
            raise UserError(f"Slurm took no job: {told}", hint) from None
        return jobs

    def _python(self) -> dict[str, str]:
        return {"slurm_python": self._request.python} if self._request.python else {}

    def _found(self, machine: Machine, wanted: set[str]) -> dict[Any, TrialsJob]:
        """The jobs with these trials of an earlier command that still run, or have ended well; others are removed."""
        import submitit

        kind = {"slurm": submitit.SlurmJob, "local": submitit.LocalJob}[self._request.manager]
        found: dict[Any, TrialsJob] = {}
        for file in sorted((machine.folder / "jobs").glob("*_submitted.pkl")):
            job = kind(machine.folder / "jobs", file.name.removesuffix("_submitted.pkl"))
            made = job.submission().function
            if isinstance(made, TrialsJob) and any(trial.id in wanted for trial in made.trials):
                found[job] = made
        for job in self._ended(list(found)):
            if not isinstance(_outcome(job), list):
                del found[job]
                _remove(job)
        return found

    def _ended(self, jobs: Sequence[Any]) -> list[Any]:
        """Those that have a result, or are no longer in the queue."""
        rest = [job for job in jobs if not job.paths.result_pickle.exists()]
        if rest and self._request.manager == "slurm":
            queued = set(_asked("squeue", "--me", "--noheader", "--array", "--format=%i"))
            rest = [job for job in rest if job.job_id in queued]
        else:
            rest = [job for job in rest if not job.done()]
        ended = [job for job in jobs if job not in rest]
        deadline = time.monotonic() + LAG
        while time.monotonic() < deadline and not all(job.paths.result_pickle.exists() for job in ended):
            time.sleep(0.2)
        return ended

    def _check_partition(self) -> None:
        """`UserError` without Slurm, and for a partition that it does not have."""
        there = _asked("sinfo", "--noheader", "--format=%R")
        if self._request.partition and self._request.partition not in there:
            raise unknown("partition", self._request.partition, there)


def _asked(*command: str) -> list[str]:
    """The lines that one of Slurm's commands answers."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        told = (getattr(error, "stderr", "") or str(error)).strip().splitlines()[-1]
        raise UserError(
            f"{command[0]}: {told}", "--executor slurm runs where Slurm's commands do: on a login node"
        ) from None
    return sorted(set(done.stdout.split()))


def _outcome(job: Any) -> Any:
    """What a job has returned, or a `UserError` with how it has ended."""
    hint = f"see {job.paths.stderr}; --request memory=…, minutes=…"
    if not job.paths.result_pickle.exists():
        told = "cancelled, out of memory, or on a node that cannot see the leaderboard folder"
        return UserError(f"job {job.job_id} ended without a result: {told}", hint)
    if error := job.exception():
        lines = [line for line in str(error).splitlines() if line and not line.startswith(("-", "You can", " "))]
        return UserError(f"job {job.job_id}: {lines[-1]}", hint)
    return job.result()


def _result(job: Any) -> Any:
    found = _outcome(job)
    if isinstance(found, UserError):
        raise found
    _remove(job)
    return found


def _records(job: Any, made: TrialsJob) -> list[Record]:
    """One for each trial; `UserError` where the node can run none of them."""
    found = _outcome(job)
    if isinstance(found, str):
        told = f"job {job.job_id}: on its node: {found}"
        raise UserError(told, "use one environment on all (--request python=…), or name other nodes (partition=…)")
    if isinstance(found, UserError):
        done = job.submission().function.done
        return [*done, *(failed_record(trial, found.message) for trial in made.trials[len(done) :])]
    _remove(job)
    return list(found)


def _remove(job: Any) -> None:
    for file in job.paths.folder.glob(f"{job.job_id}_*"):
        file.unlink(missing_ok=True)
