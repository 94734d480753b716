"""Several trials on one GPU, as streams of one process, proved on a CPU: the bits of each alone, within its memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import small
import torch
from test_programs import SHORT

from jkbench.engine import environment, program, together
from jkbench.engine.program import Tapes
from jkbench.engine.setup import Where
from jkbench.engine.trial import drained
from jkbench.execute import Machine, backends, work
from jkbench.models.network import seeded
from jkbench.plugins.discovery import Index


def test_whole_trials_on_streams_have_the_records_of_each_alone(
    index: Index, references: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three at a time of five: what a trial leaves does not depend on who runs beside it."""
    monkeypatch.setitem(program.RECORDERS, "cpu", Tapes)
    made = [small.trial(index, name, seed=seed, **SHORT) for seed in (0, 1) for name in ("jacobian", "noise")]
    made.append(small.trial(index, "lwf", "transfer", **SHORT))
    machine = Machine(references, jobs=3)
    alone = {record.id: record for record in backends.run(made, machine, "serial")}
    turns = {record.id: record for record in backends.run(made, machine, "streams")}
    assert alone.keys() == turns.keys()
    for one, other in ((alone[each], turns[each]) for each in alone):
        assert (one.status, one.metrics, one.predictions, one.curves) == (
            "ok",
            other.metrics,
            other.predictions,
            other.curves,
        )
        assert other.cost is not None
        assert not other.cost.alone


class Gpu:
    """Memory that trials of 100 MiB take in their second turn, and give back at their end."""

    def __init__(self, free_mb: float) -> None:
        self.free_mb, self.running, self.most = free_mb, 0, 0

    def steps(self, trial: Any, where: Where) -> Any:
        self.running += 1
        self.most = max(self.most, self.running)
        yield
        self.free_mb -= 100
        assert self.free_mb >= 0, "out of memory"
        for _ in range(together.SETTLED + trial):
            yield
        self.free_mb += 100
        self.running -= 1
        return trial


@pytest.mark.parametrize(("free_mb", "most"), [(350.0, 3), (120.0, 1), (50_000.0, 5)])
def test_as_many_trials_share_a_gpu_as_its_free_memory_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_mb: float, most: int
) -> None:
    """A fake reader of memory stands for the driver; the last of nine trials begins when another ends."""
    gpu = Gpu(free_mb)
    monkeypatch.setattr(together, "steps", gpu.steps)
    monkeypatch.setattr(environment, "free_memory_mb", lambda: gpu.free_mb)
    machine = Machine(tmp_path, jobs=5, trial_mb=100.0)
    assert sorted(work.together(list(range(9)), machine)) == list(range(9))  # type: ignore[type-var, arg-type]
    assert gpu.most == most


def test_a_network_that_draws_has_its_own_draws_beside_another(index: Index, references: Path) -> None:
    made = [small.trial(index, "distill", seed=seed, **SHORT) for seed in (0, 1)]
    where = small.where(references)

    def dropping(trial: Any, where: Where) -> Any:
        with seeded("layers", trial.seed):
            yield
            first = torch.rand(1).item()
            yield
            return first, torch.rand(1).item()

    wanted = [drained(dropping(each, where)) for each in made]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(together, "steps", dropping)
        assert list(together.run(made, where, 2)) == wanted
