"""`jkbench check FILE`: tries a plugin against its contract."""

from __future__ import annotations

import contextlib
import hashlib
import math
import random
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn

from jkbench import planning
from jkbench.data import arrays
from jkbench.engine import canary, environment, scoring
from jkbench.engine import images as image_sets
from jkbench.engine import teacher as networks
from jkbench.engine.images import TaskData
from jkbench.engine.loop import Diverged, Loop
from jkbench.engine.mistakes import public, told
from jkbench.engine.portable import trained_on_a_gpu
from jkbench.engine.setup import make_ready
from jkbench.engine.signals import Batch, Signals
from jkbench.engine.step import TRAINING, WrongTerm, named_terms
from jkbench.engine.teacher import TrainedNetwork
from jkbench.errors import UserError
from jkbench.planning import Trial
from jkbench.plugins import parameters, review
from jkbench.plugins.describe import Plugin, read
from jkbench.plugins.discovery import Index, discover
from jkbench.plugins.loading import load
from jkbench.records import teachers
from jkbench.tasks.families import FAMILIES
from jkbench.tasks.task import Task

STEPS = 6
_TERMS = "every loss term is a scalar tensor with a name of its own"


@dataclass(frozen=True)
class Finding:
    """One line of the contract: whether it holds, and what was seen."""

    what: str
    held: bool
    seen: str = ""


def small_task(kind: str) -> Task:
    """A task of that kind on digits, small enough to try a plugin in a second."""
    training = {"learning_rate": 1e-3, "steps": STEPS, "batch": 16}
    content: dict[str, Any] = {
        "name": f"check-{kind}", "version": 1, "kind": kind, "title": "check", "shots": [4],
        "target": {"dataset": "digits", "classes": [5, 6, 7, 8, 9]},
        "student": {"architecture": "vgg:8-M-8", "training": training},
    }  # fmt: skip
    family = FAMILIES[kind]
    if family.along == "noise std":
        content["evaluation"] = {"noise": [0.1]}
    if family.teacher:
        content["teacher"] = {"architecture": "vgg:8-M-16", "training": {**training, "steps": 30, "batch": 64}}
    if family.other_labels:
        content["source"] = {"dataset": "digits", "classes": [0, 1, 2, 3, 4]}
    return Task.model_validate(content)


def check(path: Path) -> Iterator[Finding]:
    """Try the plugin in ``path`` against its contract, finding by finding. `UserError` if the file does not exist."""
    if not path.is_file():
        raise UserError(f"there is no file {path}", "jkbench new method NAME writes one")
    torch.set_num_threads(1)  # the networks are tiny: a second thread would only wait for the first
    plugin = read(path, "dataset", "check")
    findings = check_dataset if plugin.described else check_method
    try:
        yield from findings(plugin if plugin.described else read(path, "method", "check"))
    except (Exception, SystemExit) as error:
        yield Finding("the check finishes", False, told(error, [plugin]))


def check_dataset(plugin: Plugin) -> Iterator[Finding]:
    """A data set: right arrays, the same at every load, no image in both training and test."""
    yield Finding("the plugin can be read without importing it", plugin.broken is None, plugin.broken or "")
    if plugin.broken:
        return
    yield _all_read(plugin)
    try:
        dataset = load(plugin)()
        first, second = dict(dataset.load()), dict(dataset.load())
        arrays.check(plugin.name, first, len(dataset.classes))
    except (Exception, SystemExit) as error:
        yield Finding("load() returns valid splits", False, told(error, [plugin]))
        return
    sizes = ", ".join(f"{name} {len(split)}" for name, split in first.items())
    yield Finding("load() returns valid splits", True, sizes)
    same = arrays.content({k: arrays.canonical(v) for k, v in first.items()}) == arrays.content(
        {k: arrays.canonical(v) for k, v in second.items()}
    )
    yield Finding("it loads the same images every time", same)
    train, test = (
        {hashlib.sha256(image.tobytes()).digest() for part in first[name].parts() for image in part}
        for name in ("train", "test")
    )
    shared = len(train & test)
    published = bool(dataset.content) or dataset.fetched  # then its duplicates are part of it
    seen = f"{shared} shared{', as published' if published else ''}" if shared else ""
    yield Finding("no image in both training and test", shared == 0 or published, seen)
    counts = np.bincount(first["train"].labels, minlength=len(dataset.classes))
    yield Finding(
        "every class has training images", bool(counts.min() > 0), f"{counts.min()} to {counts.max()} a class"
    )


def check_method(plugin: Plugin) -> Iterator[Finding]:
    """A method: each line of the contract on each kind of task that it claims."""
    yield Finding("the plugin can be read without importing it", plugin.broken is None, plugin.broken or "")
    if plugin.broken:
        return
    try:
        defaults = parameters.validate(plugin, {})
        parameters.tunable(plugin)
        load(plugin)(**defaults)
    except (Exception, SystemExit) as error:
        yield Finding("its parameters have types and defaults", False, told(error, [plugin]))
        return
    shown = ", ".join(f"{name}={value}" for name, value in defaults.items()) or "it has none"
    free = ", ".join(parameters.unbounded(plugin))
    yield Finding("its parameters have types and defaults", True, shown + (f"; without bounds: {free}" if free else ""))
    yield _all_read(plugin)
    yield _none("it reads no images of its own", review.reads_images(plugin))
    private = list(review.private_reads(plugin))
    yield _none("it reads public names only", [*private, _public()] if private else [])
    for kind in FAMILIES:
        if kind in plugin.tasks:
            for finding in _check_on(small_task(kind), plugin):
                yield replace(finding, what=f"{kind}: {finding.what}")


def _none(what: str, seen: Iterable[str]) -> Finding:
    """A finding that holds where nothing was seen."""
    listed = list(seen)
    return Finding(what, not listed, "; ".join(listed))


def _all_read(plugin: Plugin) -> Finding:
    return _none("it uses every parameter that it declares", review.unused_parameters(plugin))


def _public() -> str:
    """What a loss may read, as the engine's own classes have it."""
    owners = {"batch": Batch, "student and teacher": Signals}
    return "public are " + "; ".join(f"{owner}: {', '.join(public(kind))}" for owner, kind in owners.items())


@dataclass
class _Run:
    """What was seen in one short training."""

    auxiliary: set[str]
    """Terms that are to train the method's modules, not the student."""
    terms: list[tuple[str, float]] = field(default_factory=list)
    term_gradients: dict[str, float] = field(default_factory=dict)
    of_modules: set[str] = field(default_factory=set)
    """Terms that have a gradient by the weights of a module."""
    teacher_gradient: bool = False
    changed: str = ""
    """How the method changed its teacher or its images."""
    global_state_moved: bool = False
    steps: int = 0
    weights: str = ""
    accuracy: float = 0.0
    chance: float = 1.0
    """The largest accuracy that random test labels allow."""
    opened: list[str] = field(default_factory=list)


class _Watched(Loop):
    """The loop of a trial, which also records where the loss's gradients go."""

    watched: _Run

    def step(self, terms: Any) -> None:
        named = named_terms(terms)
        self.watched.terms += [(name, float(term.detach())) for name, term in named]
        modules = [p for module in self.program.modules.values() for p in module.parameters()]
        for name, term in named:
            by_modules, reached = _reached(term, modules), _reached(term, self.student.parameters())
            seen = self.watched.term_gradients
            seen[name] = max(seen.get(name, 0.0), reached + by_modules * (name in self.watched.auxiliary))
            if by_modules:
                self.watched.of_modules.add(name)
        if self.teacher is not None and named:
            total = torch.stack([term for _, term in named]).sum()
            found = torch.autograd.grad(total, list(self.teacher.parameters()), retain_graph=True, allow_unused=True)
            self.watched.teacher_gradient |= any(g is not None and bool(g.abs().sum() > 0) for g in found)
        super().step(named)
        self.watched.steps += 1


def _reached(term: Tensor, weights: Iterable[nn.Parameter]) -> float:
    """The sum of the sizes of a term's gradients by these weights."""
    trained = [weight for weight in weights if weight.requires_grad]
    if not term.requires_grad or not trained:
        return 0.0
    found = torch.autograd.grad(term, trained, retain_graph=True, allow_unused=True)
    return sum(float(gradient.abs().sum()) for gradient in found if gradient is not None)


def _check_on(task: Task, plugin: Plugin) -> Iterator[Finding]:
    found = discover()
    index = Index({"method": {**found.methods(), plugin.name: plugin}, "dataset": found.datasets()})
    trial = planning.make(task, index, plugin.name, seeds=[0]).trials[0]
    trained = _trained_networks(task, index, image_sets.of_task(task, trial.datasets))
    try:
        first = _train(trial, trained, global_seed=1)
        with canary.planted(negatives=True):
            second = _train(trial, trained, global_seed=2)
    except (Exception, SystemExit) as error:
        what = _TERMS if isinstance(error, WrongTerm) else "it trains, and what it deploys is scored"
        yield Finding(what, False, told(error, [plugin]))
        return
    yield Finding("it trains, and what it deploys is scored", True)
    yield Finding(_TERMS, True)
    bad = [f"{name} = {value}" for name, value in first.terms if not math.isfinite(value)]
    names = ", ".join(dict.fromkeys(name for name, _ in first.terms))
    yield Finding("every loss term is finite", not bad, ", ".join(bad[:3]) or names)
    missed = f": {TRAINING}" if first.steps != STEPS else ""
    yield Finding(f"it uses its budget of {STEPS} steps", not missed, f"{first.steps} steps{missed}")
    largest = max(first.term_gradients.values(), default=0.0)
    yield Finding("gradients reach the student", largest > 0, f"largest sum {largest:.3g}")
    delayed = plugin.facts["delayed"]
    idle = [name for name, reached in first.term_gradients.items() if not reached > 0 and name not in delayed]
    seen = "; ".join(_idle(name, name in first.of_modules) for name in idle)
    yield Finding("every loss term has a gradient with respect to the student's weights", not idle, seen)
    if task.teacher is not None:
        still = not first.teacher_gradient and not first.changed
        yield Finding("gradients never reach the teacher, which stays unchanged", still, first.changed)
    same = first.weights == second.weights and first.terms == second.terms
    seen = "" if same else "the numbers changed with the test images, their labels or the global random state"
    yield Finding("the same seed gives the same numbers, whatever the test images and labels are", same, seen)
    seen = f"{100 * second.accuracy:.1f} % right, at most {100 * second.chance:.1f} by chance"
    yield Finding("on random test labels it is at chance", second.accuracy <= second.chance, seen)
    yield _none("it opens no files", dict.fromkeys(first.opened))
    yield Finding("the global random state is untouched", not first.global_state_moved)
    yield _portable(trial, image_sets.of_task(task, trial.datasets), trained)


def _portable(trial: Trial, data: TaskData, trained: dict[str, TrainedNetwork]) -> Finding:
    what = "it trains on a GPU"
    try:
        return Finding(what, *trained_on_a_gpu(trial, data, trained))
    except (Exception, SystemExit) as error:
        return Finding(what, False, told(error, [trial.row.plugin]))


def _idle(name: str, trains_modules: bool) -> str:
    """What to write about a term that does not train the student."""
    if trains_modules:
        return f'{name} trains only modules, not the student: write auxiliary = {{"{name}"}}'
    return (
        f'{name} trains nothing: write delayed = {{"{name}"}} if it may be zero at first; '
        "else look for a detached tensor, or a derivative without create_graph=True"
    )


def _trained_networks(task: Task, index: Index, data: TaskData) -> dict[str, TrainedNetwork]:
    if task.teacher is None:
        return {}
    with tempfile.TemporaryDirectory(prefix="jkbench-check-") as folder:
        made = {role: teachers.of_task(task, index.datasets(), role) for role in get_args(teachers.Role)}
        return {
            role: networks.obtain(Path(folder), found, data.source, torch.device("cpu"))
            for role, found in made.items()
            if found is not None
        }


def _global_state() -> tuple[Any, ...]:
    numpy_state = np.random.get_state()
    return (random.getstate(), numpy_state[1].tobytes(), numpy_state[2], torch.get_rng_state().numpy().tobytes())  # type: ignore[index]


def _train(trial: Trial, trained: dict[str, TrainedNetwork], global_seed: int) -> _Run:
    environment.prepare()
    data = image_sets.of_task(trial.task, trial.datasets)
    run = _Run(set(trial.row.plugin.facts["auxiliary"]))
    put_back = _set_global(global_seed)
    try:
        before = _global_state()
        with canary.watched() as run.opened:
            ready = make_ready(trial, torch.device("cpu"), data, trained.__getitem__, kind=_Watched)
            loop = ready.loop
            assert isinstance(loop, _Watched)
            loop.watched = run
            if loop.teacher is not None:
                loop.teacher.requires_grad_(True)
            with contextlib.suppress(Diverged):  # the finding on finite terms says it
                ready.method.fit(loop)
        try:
            ready.check_unchanged()
        except UserError as error:
            run.changed = str(error)
        run.global_state_moved = _global_state() != before
    finally:
        put_back()
    run.weights = networks.weights_hash(ready.student.state_dict())
    run.accuracy = scoring.accuracy(scoring.logits(ready.deployed, ready.scored), ready.scored.labels)
    run.chance = canary.chance(ready.data.classes, len(ready.scored))
    return run


def _set_global(seed: int) -> Callable[[], None]:
    """Seed all global streams; returns the function that restores them."""
    python, numpy, torch_state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)

    def back() -> None:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(torch_state)

    return back
