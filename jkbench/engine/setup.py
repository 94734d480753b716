"""Everything before a trial's first step: its images, networks, signals and method, checked against each other."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache as once
from functools import cached_property, partial
from pathlib import Path
from textwrap import shorten

import torch
from torch import Tensor, nn

from jkbench.data.arrays import Split, subset
from jkbench.engine import environment, matching
from jkbench.engine import images as image_sets
from jkbench.engine import teacher as networks
from jkbench.engine.batches import Batches
from jkbench.engine.context import Context, Modules, Subset
from jkbench.engine.fidelity import Teaching, teaching
from jkbench.engine.images import ImageSet, TaskData
from jkbench.engine.loop import Loop, Start
from jkbench.engine.precision import check_precision
from jkbench.engine.signal_store import SignalStore
from jkbench.engine.step import Step
from jkbench.engine.teacher import TrainedNetwork
from jkbench.engine.teacher_signals import Signal, SignalCache
from jkbench.errors import Breach, Collector, UserError
from jkbench.models.network import Network, build, placed, seeded
from jkbench.planning import Trial
from jkbench.plugins.discovery import BUILT_IN
from jkbench.plugins.loading import load
from jkbench.plugins.method import Method
from jkbench.records import schema, teachers
from jkbench.seeds import seed_of
from jkbench.tasks.shots import Shots, SplitName
from jkbench.tasks.task import REVISION, Task


@dataclass(frozen=True)
class Where:
    """What a trial runs on: the device, the leaderboard folder (of trained networks), and whether it runs alone.

    ``cache`` is the folder of the teacher's signals; None computes them in each trial.
    """

    device: torch.device
    folder: Path
    cache: Path | None = None
    alone: bool = True
    timeout: float | None = None


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

    @cached_property
    def deployed(self) -> Network:
        """The network that is scored: the student, or what the method deploys in its place. `UserError` for none."""
        if type(self.method).deployed is Method.deployed:
            return self.student
        teacher = None if self.teacher is None else self.teacher.copy()
        found: object = self.method.deployed(self.student, self.loop.program.modules, teacher)
        if not isinstance(found, Network):
            told = f"deployed() returns a {type(found).__name__}, which is not a network"
            raise Breach("deployed", f"{told}: return jkbench.Network(body, head)")
        with torch.no_grad():
            given = tuple(found.eval()(self.scored.read(slice(0, 1))).logits.shape)
        if given != (1, self.data.classes):
            told = f"the deployed network has logits of the shape {given} for one image; the task"
            raise Breach("deployed", f"{told} has {self.data.classes} classes", "deploy it in distillation tasks only")
        return found

    def check_unchanged(self) -> None:
        """`UserError` where the method has changed its teacher or its images."""
        if self.teacher is not None and self.loop.teacher is not None:
            self.teacher.check_unchanged(self.loop.teacher)
        cache = self.loop.program.cache
        if self.loop.batches.images.written or (cache is not None and cache.written):
            image_sets.forget()
            raise UserError("the method changed its training images in place", "change a copy, in inputs()")


Networks = Callable[[teachers.Role], TrainedNetwork]
"""The trained network of a role; `UserError` where the task has none."""


def trained_networks(trial: Trial, where: Where, data: TaskData) -> Networks:
    """The trained networks of the leaderboard folder; one that is missing is trained there."""

    def obtain(role: teachers.Role) -> TrainedNetwork:
        recipe = teachers.of_task(trial.task, trial.datasets, role)
        if recipe is None:
            raise UserError(f"a {trial.task.kind} task has no {role} that was trained on the teacher's images")
        return networks.obtain(where.folder, recipe, data.source, where.device)

    return obtain


def make_ready(
    trial: Trial,
    device: torch.device,
    data: TaskData,
    trained: Networks,
    timeout: float | None = None,
    kind: Callable[[Batches, Step, float | None], Loop] = Loop,
    cache: Path | None = None,
) -> Ready:
    """Everything before the first step. `UserError` where task, networks or method do not fit together.

    ``kind`` is the class of the loop: `jkbench check` takes one that watches.
    """
    task = trial.task
    check_precision(task.precision, device)
    method: Method = load(trial.row.plugin)(**trial.row.parameters)
    teacher = trained("teacher") if task.teacher is not None else None
    pool = training_pool(data.target.splits, trial.split)
    chosen = subset(data.target.splits[pool].labels, trial.shots, trial.seed)
    taken = data.target.splits[pool].take(chosen)
    train = image_sets.on_device(taken, data.normalisation, device)
    student = build_student(data, trial, method)
    initial = copy.deepcopy(student.state_dict())
    initial_hash = _common_hash(initial)
    started, started_from = _start(method, task, trained, initial)
    _begin(student, started)
    placed(student, device)
    lent = None if teacher is None else teacher.copy()
    setting = matching.setting(student, lent, task, train.read(slice(0, 1)))
    scored = image_sets.on_device(data.target.splits[trial.split], data.normalisation, device)
    signals = taught = None
    if teacher is not None:
        whole = image_sets.streamed(data.target.splits[pool], data.normalisation, device)
        store = partial(signal_store, cache, trial, data, teacher, device)
        signals = SignalCache(teacher.copy, whole, setting, store(pool), chosen)
        taught = teaching(teacher.copy, scored, setting, store(trial.split))
    batches = Batches(train, trial.training, trial.seed)
    context = Context(
        subset=Subset(train.labels.clone(), None if signals is None else partial(_everywhere, signals)),
        origin=once(partial(_origin, student, started)),
        fresh=lambda name: placed(build_student(data, _renamed(trial, name), method), device),
    )
    step = Step(student, trial.training, setting, method.inputs, context, lent, signals)
    if own := _own_modules(batches, step, method, trial.seed):
        context = replace(context, modules=own)
        step = Step(student, trial.training, setting, method.inputs, context, lent, signals)
    subset_hash = image_sets.pixel_hash(taken, train)
    return Ready(
        trial=trial,
        method=method,
        loop=kind(batches, step, timeout),
        student=student,
        teacher=teacher,
        scored=scored,
        teaching=taught,
        data=_counted(task, data, train, scored),
        pairing=schema.Pairing(subset=subset_hash, initial=initial_hash, order=batches.order_hash),
        started_from=started_from,
    )


def _start(
    method: Method, task: Task, trained: Networks, initial: Mapping[str, Tensor]
) -> tuple[Mapping[str, Tensor], TrainedNetwork | None]:
    """The weights that the method starts from, and the pre-trained student where it asked for that."""
    used: list[TrainedNetwork] = []

    def pretrained() -> Mapping[str, Tensor]:
        used.append(trained("student"))
        return _pretrained(task, used[0], initial)

    started = method.initial(Start(initial, pretrained))
    return started, used[0] if used else None


def _begin(student: Network, started: Mapping[str, Tensor]) -> None:
    try:
        student.load_state_dict(started)
    except (RuntimeError, TypeError) as error:
        told = "initial() returns other weights than the student's: return start.state or start.pretrained()"
        raise Breach("initial", told) from error


def _everywhere(signals: SignalCache, name: str) -> Tensor | None:
    return signals.get(Signal(name), slice(None))


def _origin(student: Network, started: Mapping[str, Tensor]) -> Network:
    """The student as it started: made when a method first reads it."""
    network = copy.deepcopy(student)
    network.load_state_dict(started)
    return network.eval().requires_grad_(False)


def _renamed(trial: Trial, name: str) -> Trial:
    return replace(trial, seed=seed_of("twin", name, trial.seed))


def _counted(task: Task, data: TaskData, train: ImageSet, scored: ImageSet) -> schema.Data:
    counts = tuple(torch.bincount(scored.labels.cpu(), minlength=len(data.target.classes)).tolist())
    return schema.Data(
        dataset=task.target.dataset,
        content=data.target.content,
        train_images=len(train),
        scored_images=len(scored),
        classes=len(data.target.classes),
        scored_per_class=counts if len(set(counts)) > 1 else None,
    )


def training_pool(splits: Mapping[str, Split], scored: SplitName) -> str:
    """The split that training images are drawn from: ``selection``, all but the validation images, for trials that are
    scored on validation images where these are training images too."""
    return "selection" if scored == "validation" and "selection" in splits else "train"


def signal_store(
    cache: Path | None, trial: Trial, data: TaskData, teacher: TrainedNetwork, device: torch.device, pool: str
) -> SignalStore | None:
    """The cache of the teacher's signals on a split of the task's images, named by all that decides their values.

    Code that is not the suite's may have patched what computes them: its values are cached apart, by its hash.
    """
    if cache is None:
        return None
    mean, std = (statistic.flatten().tolist() for statistic in data.normalisation)
    classes, plugin = trial.task.target.classes, trial.row.plugin
    identity = {
        "teacher": teacher.weights,
        "images": data.target.content,
        "classes": classes and list(classes),
        "split": pool,
        "mean": mean,
        "std": std,
        "device": environment.device_name(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "kernels": torch.backends.cpu.get_cpu_capability() if device.type == "cpu" else None,
        "revision": REVISION,
    }
    store = SignalStore(cache / "signals", identity, len(data.target.splits[pool]))
    if plugin.origin == BUILT_IN:
        return store
    return replace(store, identity={**identity, "plugin": plugin.code}, shared=store)


def check_fit(task: Task, data: TaskData, shots: Iterable[Shots]) -> None:
    """Try the task's networks and its regimes before anything is trained. One `UserError` names all problems."""
    channels, size = data.target.size
    classes, outputs = len(data.target.classes), data.outputs
    image = torch.zeros(1, channels, size, size)
    _check_pretrained(task, size)  # on its own: at a wrong size timm may raise any error
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
                matching.setting(networks[0], networks[1], task, image)
        for regime in shots:
            with problems.caught():
                subset(data.target.splits["train"].labels, regime, 0)


def _check_pretrained(task: Task, size: int) -> None:
    """`UserError` where a pre-trained network does not take images of this size, or two disagree on normalisation."""
    networks = [n for n in (task.teacher, task.student) if n is not None and n.pretrained is not None]
    if not networks:
        return
    from jkbench.models.pretrained import pretrained_facts

    facts = [pretrained_facts(network.architecture) for network in networks]
    for network, about in zip(networks, facts, strict=True):
        if about.fixed_size and size != about.size:
            raise UserError(
                f"{network.architecture} takes images of {about.size} pixels, not {size}",
                f"set size = {about.size} in the task's [target], or use a convolutional network",
            )
    if len({(about.mean, about.std) for about in facts}) > 1:
        names = " and ".join(network.architecture for network in networks)
        raise UserError(f"{names} were trained with different normalisation of pixels", "use two that agree")


def _check_size(network: Network, architecture: str, image: Tensor) -> None:
    """`UserError` where a network does not take images of this size."""
    try:
        matching.sizes(network, image)
    except Exception as error:  # a layer may raise any error at a wrong shape
        side = image.shape[-1]
        why = str(error).strip().split("\n")[0] or type(error).__name__
        raise UserError(
            f"{architecture} does not take images of {side} pixels: {why}",
            "set [target] size to the size it was made for, or use another network",
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
    """The weights that carry over: all where the labels are the same; else those of the body, and of the head as
    the head for the teacher's outputs where both have the same classes."""
    if task.family.same_labels:
        return student.state
    state = student.state
    found = {name: value for name, value in state.items() if name.startswith("body.")}
    head = {f"teacher_{name}": value for name, value in state.items() if name.startswith("head.")}
    fits = all(name in initial and initial[name].shape == value.shape for name, value in head.items())
    return found | head if fits else found


def _own_modules(batches: Batches, step: Step, method: Method, seed: int) -> Mapping[str, nn.Module]:
    """A method's modules; their weights come from a stream of their own, and reading shapes leaves no trace."""
    if type(method).modules is Method.modules:
        return {}
    state, noise = copy.deepcopy(step.student.state_dict()), batches.noise.get_state()
    with seeded("init", "modules", seed):
        modules = method.modules(*step.signals(batches[0]))
    step.student.load_state_dict(state)
    batches.noise.set_state(noise)
    right = isinstance(modules, Mapping | nn.ModuleDict) and all(
        isinstance(each, nn.Module) for each in modules.values()
    )
    if not right:
        told = f"modules() returns {shorten(repr(modules), 60)}"
        raise Breach("modules", f'{told}: return a dict from names to modules, {{"map": nn.Linear(…)}}')
    return Modules((name, module.to(batches.images.device)) for name, module in modules.items())


def _common_hash(initial: Mapping[str, Tensor]) -> str:
    """The hash of the initial weights that all methods share."""
    return networks.weights_hash({k: value for k, value in initial.items() if not k.startswith("teacher_head.")})
