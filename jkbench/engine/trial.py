"""One trial, from data to record."""

from __future__ import annotations

import copy
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from jkbench.data.arrays import Split, subset
from jkbench.engine import environment, matching, scoring
from jkbench.engine import images as image_sets
from jkbench.engine import teacher as networks
from jkbench.engine.fidelity import Teaching, teaching
from jkbench.engine.images import ImageSet, TaskData
from jkbench.engine.loop import Diverged, Loop, Start, TimedOut
from jkbench.engine.signal_store import SignalStore
from jkbench.engine.signals import SignalCache
from jkbench.engine.teacher import TrainedNetwork
from jkbench.errors import Collector, UserError
from jkbench.models.network import Network, build, placed, seeded
from jkbench.plan import Trial, record_fields
from jkbench.plugins.loading import load
from jkbench.plugins.method import Method
from jkbench.records import schema, teachers
from jkbench.records.schema import Record
from jkbench.tasks.shots import Shots, SplitName
from jkbench.tasks.task import REVISION, Task


@dataclass(frozen=True)
class Where:
    """What a trial runs on: device, leaderboard folder (for reference networks), and whether it is alone.

    The teacher's signals are kept in ``cache``; None keeps them in the trial.
    """

    device: torch.device
    folder: Path
    cache: Path | None = None
    alone: bool = True
    timeout: float | None = None


def run(trial: Trial, where: Where) -> Record:
    """The record of a trial, whatever happens in it; only Ctrl-C and the like are raised."""
    environment.prepare()
    base = record_fields(trial) | {"environment": environment.describe(where.device)}
    ready: Ready | None = None

    def record(**outcome: Any) -> Record:
        return Record(**base, **({} if ready is None else facts(ready, where)), **outcome)

    try:
        with seeded("layers", trial.seed):  # whatever a layer draws for itself (dropout) is the trial's own
            data = image_sets.of_task(trial.task, trial.datasets)
            environment.reset_peak_memory(where.device)
            references = trained_networks(trial, where, data)
            ready = make_ready(trial, where.device, data, references, where.timeout, cache=where.cache)
            metrics, predicted = train_and_score(ready)
        return record(status="ok", metrics=metrics, predictions=schema.pack_labels(predicted))
    except Diverged as error:
        return record(status="diverged", message=str(error))
    except TimedOut as error:
        return record(status="timeout", message=str(error))
    except (torch.OutOfMemoryError, MemoryError) as error:
        return record(status="oom", message=str(error).split("\n")[0] or "out of memory")
    except UserError as error:
        # records are committed: a folder may hold a user's name
        folders = (where.folder, trial.row.plugin.path.parent.resolve(), trial.row.plugin.path.parent)
        message = str(error)
        for folder in folders:
            message = message.replace(f"{folder}/", "")
        return record(status="failed", message=message)
    except (Exception, SystemExit) as error:  # a plugin that exits ends its own trial alone
        return record(status="failed", message=last_lines(error))


def last_lines(error: BaseException, count: int = 3) -> str:
    """The end of a trace without folders (they may hold a user's name): file:line, function, code; then the error."""
    frames = traceback.extract_tb(error.__traceback__)[-count:]
    lines = [f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}: {frame.line}" for frame in frames]
    return "\n".join([*lines, f"{type(error).__name__}: {error}"])


@dataclass(frozen=True)
class Ready:
    """A trial that is ready to train: everything that its method, its seed and its task decide."""

    trial: Trial
    method: Method
    loop: Loop
    student: Network
    teacher: TrainedNetwork | None
    scored: ImageSet
    teaching: Teaching | None
    data: schema.Data
    pairing: schema.Pairing
    started_from: TrainedNetwork | None = None


Networks = Callable[[teachers.Role], TrainedNetwork]
"""The trained network of a role; `UserError` where the task has none."""


def trained_networks(trial: Trial, where: Where, data: TaskData) -> Networks:
    """The reference networks of the leaderboard folder, trained there when they are missing."""

    def obtain(role: teachers.Role) -> TrainedNetwork:
        made = teachers.of_task(trial.task, trial.datasets, role)
        if made is None:
            raise UserError(f"a {trial.task.kind} task has no teacher, and no student that saw what it saw")
        return networks.obtain(where.folder, made, data.source, where.device)

    return obtain


def make_ready(
    trial: Trial,
    device: torch.device,
    data: TaskData,
    references: Networks,
    timeout: float | None = None,
    kind: type[Loop] = Loop,
    cache: Path | None = None,
) -> Ready:
    """Everything before the first step. `UserError` where task, networks or method do not fit together.

    ``kind`` is the class of the loop: one that watches, for `jkbench check`.
    """
    task = trial.task
    method: Method = load(trial.row.plugin)(**trial.row.parameters)
    teacher = references("teacher") if task.teacher is not None else None
    splits = data.target.splits
    pool = training_pool(splits, trial.split)
    chosen = subset(splits[pool].labels, trial.shots, trial.seed)
    taken = splits[pool].take(chosen)
    train = image_sets.on_device(taken, data.normalisation, device)
    student = build_student(data, trial, method)
    initial = copy.deepcopy(student.state_dict())
    started_from: list[TrainedNetwork] = []

    def pretrained() -> Mapping[str, Tensor]:
        found = references("student")
        started_from.append(found)
        return _pretrained(task, found, initial)

    student.load_state_dict(method.initial(Start(initial, pretrained)))
    placed(student, device)
    network = None if teacher is None else teacher.network
    setting = matching.setting(student, network, task, train.read(slice(0, 1)))
    scored = image_sets.on_device(splits[trial.split], data.normalisation, device)
    signals = taught = None
    if teacher is not None:
        stores = {
            name: None if cache is None else signal_store(cache, task, data, name, teacher, device)
            for name in (pool, trial.split)
        }
        signals = SignalCache(teacher.network, train, setting, stores[pool], chosen)
        taught = teaching(teacher.network, scored, setting, stores[trial.split])
    loop = kind(train, student, task.student.training, setting, trial.seed, network, signals, timeout)
    loop.prepare(method.inputs, _own_modules(loop, method, trial.seed))
    return Ready(
        trial=trial,
        method=method,
        loop=loop,
        student=student,
        teacher=teacher,
        scored=scored,
        teaching=taught,
        data=schema.Data(
            dataset=task.target.dataset,
            content=data.target.content,
            train_images=len(train),
            scored_images=len(splits[trial.split]),
            classes=len(data.target.classes),
        ),
        pairing=_pairing(image_sets.pixel_hash(taken, train), initial, loop),
        started_from=started_from[0] if started_from else None,
    )


def training_pool(splits: Mapping[str, Split], scored: SplitName) -> str:
    """The split that training images are drawn from: where validation images are training images, the others for
    trials that are scored on them."""
    return "selection" if scored == "validation" and "selection" in splits else "train"


def signal_store(
    cache: Path, task: Task, data: TaskData, pool: str, teacher: TrainedNetwork, device: torch.device
) -> SignalStore:
    """Where the teacher's signals on a split of the task's images are kept: named by all that decides their values."""
    mean, std = (statistic.flatten().tolist() for statistic in data.normalisation)
    identity = {
        "teacher": teacher.weights,
        "images": data.target.content,
        "classes": task.target.classes and list(task.target.classes),
        "split": pool,
        "mean": mean,
        "std": std,
        "device": environment.device_name(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "kernels": torch.backends.cpu.get_cpu_capability() if device.type == "cpu" else None,
        "revision": REVISION,
    }
    return SignalStore(cache / "signals", identity, len(data.target.splits[pool]))


def check_fit(
    task: Task, data: TaskData, shots: Iterable[Shots], depths: Iterable[str] = ()
) -> None:  # fmt: skip
    """Build the task's networks once and ask for its regimes and for the ``depths`` that rows match at, before anything
    is trained. `UserError` tells all."""
    channels, size = data.target.size
    classes, outputs = len(data.target.classes), data.outputs
    image = torch.zeros(1, channels, size, size)
    _check_pretrained(task, size)  # by itself: timm raises what it likes at images of another size
    with Collector() as problems:
        if task.family.same_labels and outputs != classes:
            problems.add(
                UserError(f"the teacher has {outputs} classes, {task.target.dataset} has {classes}", "kind = transfer")
            )
        networks = []
        for network, heads in [(task.student, classes), (task.teacher, outputs)]:
            if network is not None:
                with problems.caught():
                    built = build(network.architecture, channels, size, heads, 0)
                    _check_size(built, network.architecture, image)
                    networks.append(built)
        if len(networks) == 2:
            with problems.caught():
                setting = matching.setting(networks[0], networks[1], task, image)
                for depth in sorted(depths):
                    with problems.caught():
                        setting.select(depth)
        for regime in shots:
            with problems.caught():
                subset(data.target.splits["train"].labels, regime, 0)


def _check_pretrained(task: Task, size: int) -> None:
    """`UserError` where images are of no size that a pre-trained network takes, or two of them want other pixels."""
    networks = [n for n in (task.teacher, task.student) if n is not None and n.pretrained is not None]
    if not networks:
        return
    from jkbench.models.pretrained import pretrained_facts

    facts = [pretrained_facts(network.architecture) for network in networks]
    for network, about in zip(networks, facts, strict=True):
        if about.fixed_size and size != about.size:
            raise UserError(
                f"{network.architecture} takes images of {about.size} pixels, not of {size}",
                f"set size = {about.size} in the task's [target], or take a convolutional network",
            )
    if len({(about.mean, about.std) for about in facts}) > 1:
        names = " and ".join(network.architecture for network in networks)
        raise UserError(f"{names} were trained on pixels that were normalised differently", "take two that agree")


def _check_size(network: Network, architecture: str, image: Tensor) -> None:
    """`UserError` where a network does not take images of this size."""
    try:
        matching.sizes(network, image)
    except Exception as error:  # whatever somebody's layers raise of a shape
        side = image.shape[-1]
        why = str(error).strip().split("\n")[0] or type(error).__name__
        raise UserError(
            f"{architecture} does not take images of {side} pixels: {why}",
            "give the size that it was made for (size in [target]), or take another network",
        ) from error


def build_student(data: TaskData, trial: Trial, method: Method) -> Network:
    """The student at the trial's seed, before a method chooses another start."""
    task = trial.task
    channels, size = data.target.size
    outputs = None
    if task.family.teacher and (task.family.other_labels or method.separate_head):
        outputs = data.outputs
    return build(task.student.architecture, channels, size, len(data.target.classes), trial.seed, outputs)


def _pretrained(task: Task, student: TrainedNetwork, initial: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The weights that carry over: all where the labels are the same; else the body's, and those of its head as the
    head for the teacher's outputs, where both are of the same classes."""
    if task.family.same_labels:
        return student.state
    found = {name: value for name, value in student.state.items() if name.startswith("body.")}
    head = {f"teacher_{name}": value for name, value in student.state.items() if name.startswith("head.")}
    fits = all(name in initial and initial[name].shape == value.shape for name, value in head.items())
    return found | head if fits else found


def _own_modules(loop: Loop, method: Method, seed: int) -> Mapping[str, nn.Module]:
    """A method's modules; their weights come from a stream of their own, and reading shapes leaves no trace."""
    if type(method).modules is Method.modules:
        return {}
    state, noise = copy.deepcopy(loop.student.state_dict()), loop.noise.get_state()
    loop.inputs = method.inputs
    with seeded("init", "modules", seed):
        modules = method.modules(*loop.signals(loop.batch(0)))
    loop.student.load_state_dict(state)
    loop.noise.set_state(noise)
    return {name: module.to(loop.device) for name, module in modules.items()}


def _pairing(subset_hash: str, initial: Mapping[str, Tensor], loop: Loop) -> schema.Pairing:
    common = {name: value for name, value in initial.items() if not name.startswith("teacher_head.")}
    return schema.Pairing(
        subset=subset_hash,
        initial=networks.weights_hash(common),
        order=loop.order_hash,
    )


def train_and_score(ready: Ready) -> tuple[dict[str, float], list[int]]:
    """Train by the method's loop, then score at the last step: metrics and predicted labels."""
    loop, task = ready.loop, ready.trial.task
    environment.trim()  # what loading took
    ready.method.fit(loop)
    environment.trim()  # what training took: scoring has other shapes
    if loop.trace.steps != len(loop):
        raise RuntimeError(f"fit() took {loop.trace.steps} steps; the budget is {len(loop)}")
    if not all(bool(value.isfinite().all()) for value in ready.student.state_dict().values()):
        raise Diverged("the weights are not finite after the last step")
    noise, draws = task.evaluation.noise, task.evaluation.noise_draws
    metrics, predicted = scoring.score(ready.student, ready.scored, ready.teaching, noise, draws)
    if bad := [name for name, value in metrics.items() if value - value != 0]:
        raise Diverged(f"not finite after the last step: {', '.join(bad)}")
    return metrics, predicted


def facts(ready: Ready, where: Where) -> dict[str, Any]:
    """What a record says beside its outcome, as far as the training came."""
    trace, cache = ready.loop.trace, ready.loop.cache
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
            peak_memory_mb=environment.peak_memory_mb(where.device),
            trainable_parameters=ready.loop.trainable_parameters,
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
    """Curves without the values after which they are no numbers (JSON has none for them)."""
    kept: dict[str, list[float]] = {}
    for name, values in curves.items():
        bad = next((at for at, value in enumerate(values) if value - value != 0), len(values))
        kept[name] = values[:bad]
    return kept
