"""Many trials: which runs next, how many at a time, and what a worker that dies or runs out of memory costs."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import small
from user_folder import METHOD

from jkbench import planning as plan
from jkbench.errors import UserError
from jkbench.execute import Machine, backends, memory
from jkbench.execute.order import LongestFirst, cell
from jkbench.execute.progress import Progress
from jkbench.execute.session import Resources, Session
from jkbench.planning import Trial, record_fields
from jkbench.plugins.discovery import Index, discover
from jkbench.records.schema import Cost, Environment, Record
from jkbench.records.store import encode
from jkbench.records.timings import peak_memory_mb, seconds_by_cell

pytestmark = pytest.mark.processes


def trials(index: Index, methods: str, seeds: int = 2, shots: tuple[int, ...] = (4,)) -> list[Trial]:
    return plan.make(small.task(), index, methods, shots=shots, seeds=range(seeds)).trials


def record(trial: Trial, seconds: float, **changes: Any) -> Record:
    cost = Cost(seconds=seconds, step_ms=1, steps=6, peak_memory_mb=700, trainable_parameters=9, alone=True)
    where = Environment(
        jkbench="0",
        python="3",
        torch="2",
        device="cpu (x86_64)",
        threads=1,
        precision="float32",
        platform="Linux",
        commit=None,
        dirty=None,
    )
    return Record(**{**record_fields(trial), "status": "ok", "cost": cost, "environment": where, **changes})


def test_the_longest_starts_first_and_one_of_each_untimed_kind_before_all(index: Index) -> None:
    made = trials(index, "scratch,distill,jacobian", seeds=3)
    waiting = LongestFirst(made, {("jacobian", 4): 9.0, ("scratch", 4): 1.0})
    order = [waiting.take() for _ in range(4)]
    assert [t.row.label for t in order] == ["distill", "jacobian", "jacobian", "jacobian"]
    assert [t.seed for t in order[1:]] == [0, 1, 2]
    waiting.took(order[0], record(order[0], 0.5))
    rest = []
    while waiting:
        rest.append(waiting.take())
    assert [t.row.label for t in rest] == ["scratch"] * 3 + ["distill"] * 2
    assert sorted(t.id for t in order + rest) == sorted(t.id for t in made)
    with pytest.raises(IndexError):
        waiting.take()


def test_a_kind_whose_first_trial_failed_is_timed_by_its_next(index: Index) -> None:
    made = trials(index, "scratch,distill", seeds=2)
    waiting = LongestFirst(made, {("scratch", 4): 1.0})
    first = waiting.take()
    assert first.row.label == "distill"
    waiting.took(first, record(first, 0.1, status="failed", message="x"))
    assert waiting.take().row.label == "distill"


def test_durations_and_memory_come_from_the_records(index: Index) -> None:
    made = trials(index, "scratch", seeds=3)
    records = [record(t, s) for t, s in zip(made, (1.0, 3.0, 50.0), strict=True)]
    records[2] = record(made[2], 50.0, status="timeout")
    assert seconds_by_cell(records) == {cell(made[0]): 2.0}
    assert peak_memory_mb(records, on_gpu=False) == 700
    assert peak_memory_mb(records, on_gpu=True) is None


def test_as_many_trials_as_memory_holds() -> None:
    assert memory.jobs(None, most=8, free_mb=10_000, trial_mb=1000, where="x") == 8
    assert memory.jobs(None, most=16, free_mb=10_000, trial_mb=1000, where="x") == 9
    assert memory.jobs(None, most=16, free_mb=500, trial_mb=1000, where="x") == 1
    assert memory.jobs(5, most=2, free_mb=10_000, trial_mb=1000, where="x") == 5  # who asks gets it, where it fits
    with pytest.raises(UserError) as caught:
        memory.jobs(20, most=2, free_mb=10_240, trial_mb=1024, where="the machine's memory")
    assert caught.value.message == (
        "--jobs 20: 20 trials of about 1.0 GiB do not fit into the 10.0 GiB that are free in the machine's memory"
    )
    assert "use --jobs 9 or less" in caught.value.hint


def session(folder: Path, free_mb: float | None = None, executor: str = "serial", **resources: Any) -> Session:
    """A session of that device's memory, without workers."""
    device = "cpu" if free_mb is None else "cuda"
    return Session(backends.start(executor), Progress(False), Resources(**resources), folder, None, device, free_mb)


def test_the_command_refuses_more_jobs_than_memory(index: Index, tmp_path: Path) -> None:
    assert memory.available_mb() > 100
    made = trials(index, "scratch")
    with pytest.raises(UserError, match="do not fit"):
        session(tmp_path, jobs=100000).machine(made, {})
    setup = session(tmp_path).machine(made, {made[0].id: record(made[0], 2.0)})
    assert 1 <= setup.jobs <= 2
    assert setup.expected == {cell(made[0]): 2.0}


def test_a_gpu_is_shared_by_what_a_trial_was_seen_to_take(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a GPU: the numbers that torch would tell are given."""
    monkeypatch.setattr(sys.modules["jkbench.execute.session"], "cores", lambda: 16)
    gpu = session(tmp_path, 10_000.0)
    made = trials(index, "scratch,jacobian", seeds=2, shots=(2, 4))
    first = gpu.measuring(made, {})
    assert [(t.row.label, t.shots, t.seed) for t in first] == [("scratch", 4, 0), ("jacobian", 4, 0)]
    assert gpu.machine(made, {}).jobs == 1
    seen = {}
    for trial, peak in zip(first, (100.0, 2300.0), strict=True):
        plain = record(trial, 1.0)
        assert plain.cost is not None
        assert plain.environment is not None
        cost = plain.cost.model_copy(update={"peak_memory_mb": peak})
        where = plain.environment.model_copy(update={"device": "NVIDIA H200"})
        seen[trial.id] = plain.model_copy(update={"cost": cost, "environment": where})
    assert gpu.measuring(made, seen) == []
    assert session(tmp_path, 10_000.0, jobs=2).measuring(made, {}) == []
    assert session(tmp_path).measuring(made, {}) == []
    assert gpu.machine(made, seen).jobs == 3  # 9,000 // (2,300 + 700)
    streams = session(tmp_path, 30_000.0, "streams")
    assert streams.machine(made, {}).jobs == 1
    assert session(tmp_path, 9_000.0, "streams").machine(made, seen).jobs == 3  # 8,100 // 2,300: one context for all
    many = trials(index, "scratch,jacobian", seeds=8)
    assert streams.machine(many, seen).jobs == memory.QUEUES
    beside = {name: each.model_copy(update={"cost": each.cost.model_copy(update={"alone": False})})
              for name, each in seen.items()}  # fmt: skip
    assert streams.measuring(made, beside) == first, "what several took together tells nothing of one"
    with pytest.raises(UserError, match="free in the GPU"):
        session(tmp_path, 10_000.0, jobs=4).machine(made, seen)


DYING = METHOD.replace("        yield", "        import os; os._exit(9)\n        yield")
GREEDY = METHOD.replace(
    "        yield",
    "        import pathlib; log = pathlib.Path(LOG); log.open('a').write('x')\n"
    "        if len(log.read_text()) < 2: raise MemoryError('too big')\n        yield",
)


def test_a_worker_that_dies_takes_no_other_trial_with_it(work: Path) -> None:
    """The other worker's trials run once, and its process stays the same."""
    log = work / "log"
    (work / "methods/deadly.py").write_text(DYING)
    (work / "methods/steady.py").write_text(
        METHOD.replace(
            "        yield",
            f"        import os\n        if batch.step == 0: open({str(log)!r}, 'a').write(f'{{os.getpid()}}\\n')\n"
            "        yield",
        )
    )
    made = trials(discover(working=work), "deadly,steady", seeds=4)
    records = list(backends.run(made, Machine(work / "board", jobs=2)))
    assert Counter((r.method, r.status) for r in records) == {("deadly", "failed"): 4, ("steady", "ok"): 4}
    assert len(log.read_text().split()) == 4
    dead = [r for r in records if r.status == "failed"]
    assert all("the worker exited with status 9, twice" in (r.message or "") for r in dead)


def test_out_of_memory_is_tried_once_more_alone(work: Path) -> None:
    (work / "methods/greedy.py").write_text(GREEDY.replace("LOG", repr(str(work / "log"))))
    made = trials(discover(working=work), "greedy,scratch", seeds=1)
    records = {r.method: r for r in backends.run(made, Machine(work / "board", jobs=2))}
    assert records["greedy"].status == "ok", records["greedy"].message
    assert records["greedy"].cost is not None
    assert records["greedy"].cost.alone
    assert records["scratch"].cost is not None
    assert not records["scratch"].cost.alone


@pytest.mark.parametrize("jobs", [1, 2])
def test_metrics_that_are_no_numbers_are_a_diverged_trial_and_the_run_goes_on(work: Path, jobs: int) -> None:
    """Finite weights whose logits overflow."""
    (work / "methods/big.py").write_text(
        METHOD + "\n    def fit(self, loop):\n        super().fit(loop)\n"
        "        for weight in loop.student.parameters():\n            weight.data.mul_(1e30)\n"
    )
    made = trials(discover(working=work), "big,scratch", seeds=1)
    found = {r.method: r for r in backends.run(made, Machine(work / "board", jobs=jobs))}
    assert found["scratch"].status == "ok"
    assert found["big"].status == "diverged"
    assert "not finite after the last step" in (found["big"].message or "")
    encode(found["big"])


def test_what_comes_out_of_a_worker_ends_its_trial_alone(work: Path) -> None:
    """An interrupt that a plugin raises is not the user's."""
    (work / "methods/rude.py").write_text(
        METHOD.replace("        yield", "        raise KeyboardInterrupt\n        yield")
    )
    made = trials(discover(working=work), "rude,scratch", seeds=1)
    found = {r.method: r for r in backends.run(made, Machine(work / "board", jobs=2))}
    assert found["scratch"].status == "ok"
    assert found["rude"].status == "failed"
    assert "KeyboardInterrupt" in (found["rude"].message or "")


def test_out_of_memory_alone_is_the_record(work: Path) -> None:
    (work / "methods/greedy.py").write_text(
        METHOD.replace("        yield", "        raise MemoryError('no')\n        yield")
    )
    made = trials(discover(working=work), "greedy,scratch", seeds=1)
    records = {r.method: r.status for r in backends.run(made, Machine(work / "board", jobs=2))}
    assert records == {"greedy": "oom", "scratch": "ok"}


def test_workers_have_the_threads_that_they_are_given(work: Path) -> None:
    made = trials(discover(working=work), "scratch,distill", seeds=1)
    records = list(backends.run(made, Machine(work / "board", jobs=2, threads=1)))
    assert {r.environment.threads for r in records if r.environment} == {1}
