"""One trial, from data to record."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from jkbench.engine import environment, scoring
from jkbench.engine import images as image_sets
from jkbench.engine.checkpoint import Checkpoint, surroundings
from jkbench.engine.loop import Diverged, TimedOut
from jkbench.engine.mistakes import told
from jkbench.engine.own_state import OwnState
from jkbench.engine.setup import Ready, Where, make_ready, trained_networks
from jkbench.engine.step import TRAINING
from jkbench.errors import Breach
from jkbench.files import checkpoint_of
from jkbench.models.network import seeded
from jkbench.planning import Trial, record_fields
from jkbench.plugins.method import Method
from jkbench.records import schema
from jkbench.records.schema import Record

T = TypeVar("T")


def run(trial: Trial, where: Where) -> Record:
    """The record of a trial, however it ends; only Ctrl-C and the like are raised."""
    return drained(steps(trial, where))


def drained(stages: Generator[None, None, T]) -> T:
    """What a generator returns at its end."""
    while True:
        try:
            next(stages)
        except StopIteration as end:
            found: T = end.value
            return found


def steps(trial: Trial, where: Where) -> Generator[None, None, Record]:
    """As `run`, stopping after each recorded step: other trials may run in turns with this one."""
    environment.prepare(where.device)
    base = record_fields(trial) | {"environment": environment.describe(where.device, trial.task.precision)}
    ready: Ready | None = None

    def record(**outcome: Any) -> Record:
        return Record(**base, **({} if ready is None else facts(ready, where)), **outcome)

    try:
        # what a layer draws (dropout) depends on the trial alone
        with environment.modes_kept(), seeded("layers", trial.seed):
            data = image_sets.of_task(trial.task, trial.datasets)
            environment.reset_peak_memory(where.device)
            trained = trained_networks(trial, where, data)
            ready = make_ready(trial, where.device, data, trained, where.timeout, cache=where.cache)
            if where.cache is not None:
                checkpoint = _checkpoint(ready, where.cache)
                checkpoint.restore(ready.loop)
                ready.loop.after_step = checkpoint.save
            metrics, predicted = yield from _trained_and_scored(ready)
        other = sum(p.numel() for p in ready.deployed.parameters()) if ready.deployed is not ready.student else None
        packed = schema.pack_labels(predicted)
        return record(status="ok", metrics=metrics, predictions=packed, deployed_parameters=other)
    except Diverged as error:
        return record(status="diverged", message=str(error))
    except TimedOut as error:
        return record(status="timeout", message=str(error))
    except (torch.OutOfMemoryError, MemoryError) as error:
        return record(status="oom", message=str(error).split("\n")[0] or "out of memory")
    except (Exception, SystemExit) as error:  # a plugin that exits ends only its own trial
        plugins = [trial.row.plugin, *trial.datasets.values()]
        message = told(error, plugins)
        # records are committed, and a folder may contain a user's name
        parents = [plugin.path.parent for plugin in plugins]
        for folder in (where.folder, *(parent.resolve() for parent in parents), *parents):
            message = message.replace(f"{folder}/", "")
        return record(status="failed", message=message)


def _checkpoint(ready: Ready, cache: Path) -> Checkpoint:
    """The checkpoint of a trial that has not begun."""
    identity = {
        "trial": ready.trial.id,
        **surroundings(ready.loop.device),
        "teacher": None if ready.teacher is None else ready.teacher.weights,
        "content": ready.data.content,
        "pairing": ready.pairing.model_dump(),
    }
    own = OwnState(ready.method, ready.loop.program.modules)
    return Checkpoint(checkpoint_of(cache, ready.trial.id), identity, own.obstacle)


def train_and_score(ready: Ready) -> tuple[dict[str, float], list[int]]:
    """Train with the method's loop, then score at the last step: metrics and predicted labels."""
    return drained(_trained_and_scored(ready))


def _trained_and_scored(ready: Ready) -> Generator[None, None, tuple[dict[str, float], list[int]]]:
    loop, task = ready.loop, ready.trial.task
    environment.trim()  # memory that loading took
    try:
        if loop.records and type(ready.method).fit is Method.fit:
            yield from loop.recorded(ready.method.loss)
        else:
            ready.method.fit(loop)
    except (Exception, SystemExit):
        ready.check_unchanged()  # the cause, where it is one
        raise
    ready.check_unchanged()
    environment.trim()  # memory that training took: scoring has other shapes
    if loop.trace.steps != len(loop):
        raise Breach("fit", f"fit() took {loop.trace.steps} steps, but the budget is {len(loop)}: {TRAINING}")
    if not all(bool(value.isfinite().all()) for value in ready.deployed.state_dict().values()):
        raise Diverged("the weights are not finite after the last step")
    noise, draws = task.evaluation.noise, task.evaluation.noise_draws
    metrics, predicted = scoring.score(ready.deployed, ready.scored, ready.teaching, noise, draws)
    if bad := [name for name, value in metrics.items() if value - value != 0]:
        raise Diverged(f"not finite after the last step: {', '.join(bad)}")
    return metrics, predicted


def facts(ready: Ready, where: Where) -> dict[str, Any]:
    """What a record says beside its outcome, up to where the training came."""
    trace, cache = ready.loop.trace, ready.loop.program.cache
    found: dict[str, Any] = {
        "data": ready.data,
        "pairing": ready.pairing,
        "started_from": None if ready.started_from is None else ready.started_from.weights,
        "started_recipe": None if ready.started_from is None else ready.started_from.recipe.hash,
        "curve_steps": trace.curve_steps,
        "curves": _finite(trace.curves),
        "cost": schema.Cost(
            seconds=max(0.0, (trace.seconds or sum(trace.step_seconds)) - ready.loop.signals_seconds),
            signals_seconds=0.0 if cache is None else cache.seconds,
            step_ms=trace.step_ms,
            steps=trace.steps,
            replayed=None if where.device.type == "cpu" else trace.replayed,
            obstacle=None if trace.obstacle is None else str(trace.obstacle),
            peak_memory_mb=environment.peak_memory_mb(where.device),
            trainable_parameters=sum(parameter.numel() for parameter in ready.loop.program.parameters),
            alone=where.alone,
        ),
    }
    if ready.teacher is not None:
        made = ready.teacher.recipe
        found["teacher"] = schema.TeacherUsed(
            recipe=made.hash,
            weights=ready.teacher.weights,
            architecture=made.architecture,
            accuracy=ready.teacher.accuracy,
        )
    return found


def _finite(curves: Mapping[str, list[float]]) -> dict[str, list[float]]:
    """Curves up to their first value that is not a number (JSON has none)."""
    finite: dict[str, list[float]] = {}
    for name, values in curves.items():
        bad = next((at for at, value in enumerate(values) if value - value != 0), len(values))
        finite[name] = values[:bad]
    return finite
