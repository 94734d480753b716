"""One trial, from data to record."""

from __future__ import annotations

import copy
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from jkbench import fingerprint, recipe
from jkbench.data.arrays import subset
from jkbench.engine import environment, reference, resident, scoring
from jkbench.engine.loop import Diverged, Loop, Start, TimedOut
from jkbench.engine.matching import matched_layers
from jkbench.engine.reference import Reference
from jkbench.engine.resident import Resident, TaskData
from jkbench.engine.signals import Setting, SignalCache
from jkbench.errors import UserError
from jkbench.method import Method
from jkbench.models.network import Network, build, seeded
from jkbench.plan import Trial
from jkbench.plugins.loading import load
from jkbench.records import schema
from jkbench.records.blank import blank
from jkbench.records.schema import Record


@dataclass(frozen=True)
class Where:
    """What a trial runs on: device, leaderboard folder (for reference networks), and whether it is alone."""

    device: torch.device
    folder: Path
    alone: bool = True
    timeout: float | None = None


def run(trial: Trial, where: Where) -> Record:
    """The record of a trial, whatever happens in it; only Ctrl-C and the like are raised."""
    environment.exact()
    base = blank(trial) | {"environment": environment.describe(where.device)}
    attempt = _Attempt(trial, where)
    try:
        with seeded("layers", trial.seed):  # whatever a layer draws for itself (dropout) is the trial's own
            metrics, predicted = attempt.run()
        return Record(
            **base, **attempt.facts(), status="ok", metrics=metrics, predictions=schema.pack_labels(predicted)
        )
    except Diverged as error:
        return Record(**base, **attempt.facts(), status="diverged", message=str(error))
    except TimedOut as error:
        return Record(**base, **attempt.facts(), status="timeout", message=str(error))
    except (torch.OutOfMemoryError, MemoryError) as error:
        return Record(**base, status="oom", message=str(error).split("\n")[0] or "out of memory")
    except UserError as error:
        return Record(**base, status="failed", message=str(error))
    except Exception as error:
        return Record(**base, status="failed", message=last_lines(error))


def last_lines(error: BaseException, count: int = 3) -> str:
    """The end of a trace without folders (they may hold a user's name): file:line, function, code; then the error."""
    frames = traceback.extract_tb(error.__traceback__)[-count:]
    lines = [f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}: {frame.line}" for frame in frames]
    return "\n".join([*lines, f"{type(error).__name__}: {error}"])


def build_student(task_data: TaskData, trial: Trial, method: Method) -> Network:
    """The student at the trial's seed, before a method chooses another start."""
    task = trial.task
    channels, size = task_data.target.size
    outputs = None
    if task.kind == "transfer" or (task.teacher is not None and method.separate_head):
        outputs = len(task_data.source.classes)
    return build(task.student.architecture, channels, size, len(task_data.target.classes), trial.seed, outputs)


class _Attempt:
    """One run of a trial; what it knows so far is kept for the record of a failure."""

    def __init__(self, trial: Trial, where: Where) -> None:
        self.trial = trial
        self.where = where
        self.teacher: Reference | None = None
        self.loop: Loop | None = None
        self.pairing: schema.Pairing | None = None
        self.data: schema.Data | None = None
        self.peak: float | None = None

    def run(self) -> tuple[dict[str, float], list[int]]:
        """Train, then score at the last step."""
        task, device = self.trial.task, self.where.device
        method: Method = load(self.trial.row.source)(**self.trial.row.parameters)
        data = resident.of_task(task, self.trial.datasets)
        self.teacher = self._reference("teacher", data)
        train, scored = self._images(data)
        environment.reset_peak_memory(device)
        student = build_student(data, self.trial, method)
        initial = copy.deepcopy(student.state_dict())
        student.load_state_dict(self._start(method, initial, data))
        student.to(device)
        teacher = None if self.teacher is None else self.teacher.network
        self.loop = make_loop(self.trial, student, teacher, train, self.where.timeout)
        prepare(self.loop, method, self.trial.seed)
        self._pair(train, initial)
        method.fit(self.loop)
        if self.loop.trace.steps != len(self.loop):
            raise RuntimeError(f"fit() took {self.loop.trace.steps} steps; the budget is {len(self.loop)}")
        metrics = scoring.score(
            student, scored, teacher if task.same_labels else None, task.evaluation.noise, task.evaluation.noise_draws
        )
        self.peak = environment.peak_memory_mb(device)
        return metrics

    def _reference(self, role: recipe.Role, data: TaskData) -> Reference | None:
        made = recipe.of_task(self.trial.task, self.trial.datasets, role)
        return None if made is None else reference.obtain(self.where.folder, made, data.source, self.where.device)

    def _start(self, method: Method, initial: Mapping[str, Tensor], data: TaskData) -> Mapping[str, Tensor]:
        def pretrained() -> Mapping[str, Tensor]:
            found = self._reference("student", data)
            if found is None:
                raise UserError("a robustness task has no pre-trained student")
            same = self.trial.task.same_labels
            return {name: value for name, value in found.state.items() if same or name.startswith("body.")}

        return method.initial(Start(initial, pretrained))

    def _images(self, data: TaskData) -> tuple[Resident, Resident]:
        splits, trial = data.target.splits, self.trial
        chosen = subset(splits["train"].labels, trial.shots, trial.seed)
        train = resident.reside(splits["train"].take(chosen), data.normalisation, self.where.device)
        scored = resident.reside(splits[trial.split], data.normalisation, self.where.device)
        self.data = schema.Data(
            dataset=trial.task.target.dataset,
            content=data.target.content,
            train_images=len(train),
            scored_images=len(scored),
            classes=len(data.target.classes),
        )
        return train, scored

    def _pair(self, train: Resident, initial: Mapping[str, Tensor]) -> None:
        assert self.loop is not None
        common = {name: value for name, value in initial.items() if not name.startswith("teacher_head.")}
        self.pairing = schema.Pairing(
            subset=fingerprint.of_bytes(train.images.cpu().numpy().tobytes(), train.labels.cpu().numpy().tobytes()),
            initial=reference.weights_hash(common),
            order=self.loop.order_hash,
        )

    def facts(self) -> dict[str, Any]:
        """What a record says beside its metrics, as far as the attempt came."""
        facts: dict[str, Any] = {"data": self.data, "pairing": self.pairing}
        if self.teacher is not None:
            made = self.teacher.recipe
            facts["teacher"] = schema.Teacher(
                recipe=made.hash,
                weights=self.teacher.weights,
                architecture=made.architecture,
                accuracy=self.teacher.accuracy,
            )
        if self.loop is not None:
            trace = self.loop.trace
            facts |= {"curve_steps": trace.curve_steps, "curves": _finite(trace.curves)}
            facts["cost"] = schema.Cost(
                seconds=trace.seconds or sum(trace.step_seconds),
                step_ms=trace.step_ms,
                steps=trace.steps,
                peak_memory_mb=self.peak or environment.peak_memory_mb(self.where.device),
                trainable_parameters=self.loop.trainable_parameters,
                alone=self.where.alone,
            )
        return facts


def _finite(curves: Mapping[str, list[float]]) -> dict[str, list[float]]:
    """Curves without the values after which they are no numbers (JSON has none for them)."""
    kept: dict[str, list[float]] = {}
    for name, values in curves.items():
        bad = next((at for at, value in enumerate(values) if value - value != 0), len(values))
        kept[name] = values[:bad]
    return kept


def make_loop(
    trial: Trial, student: Network, teacher: Network | None, train: Resident, timeout: float | None = None
) -> Loop:
    """The loop of a trial: what is matched with what, and the teacher's cache. `UserError` where layers do not fit."""
    task = trial.task
    pairs = () if teacher is None else matched_layers(student, teacher, task.matching, train.read(slice(0, 1)))
    setting = Setting(pairs, task.same_labels, task.matching.batch_norm)
    cache = None if teacher is None else SignalCache(teacher, train, setting)
    return Loop(train, student, task.student.training, setting, trial.seed, teacher, cache, timeout)


def prepare(loop: Loop, method: Method, seed: int) -> None:
    """Give the loop the method's inputs and modules; the modules' weights come from a stream of their own."""
    modules: Mapping[str, nn.Module] = {}
    if type(method).modules is not Method.modules:
        state = copy.deepcopy(loop.student.state_dict())
        noise = loop.noise.get_state()
        with seeded("init", "modules", seed):
            modules = method.modules(*loop.signals(loop.batch(0)))
        loop.student.load_state_dict(state)  # reading shapes leaves no trace in batch-norm statistics
        loop.noise.set_state(noise)
        for module in modules.values():
            module.to(loop.device)
    loop.prepare(method.inputs, modules)
