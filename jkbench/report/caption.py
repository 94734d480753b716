"""The caption: the whole protocol in sentences, from the task and from what its records say."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TypeVar

from jkbench.plugins.parameters import label
from jkbench.records.schema import Record
from jkbench.report.grid import Grid
from jkbench.report.wording import code, listed, plural, ranges
from jkbench.tasks.shots import per_class
from jkbench.tasks.task import Images, Matching, Task

_T = TypeVar("_T", str, int)
_BATCH_NORM = {
    "batch": "the batch's statistics, differentiated through (samples are coupled)",
    "running": "the running statistics",
    "per-sample": "the batch's statistics, constant in the inputs and not in the weights (a per-sample Jacobian)",
    "constant": "the batch's statistics taken as constants, in the weights too (a per-sample Jacobian)",
}


def _rows_of(task: Task) -> set[str]:
    """The names of the rows that the task's file gives parameters."""
    rows = {name: task.rows(name) for name in task.methods}
    several = {label(name, each, {}, set()) for name, found in rows.items() if len(found) > 1 for each in found}
    return several | {name for name, found in rows.items() if len(found) == 1}


def protocol(task: Task, grid: Grid, chosen: Collection[str] = ()) -> list[str]:
    """What every trial has in common, a sentence an entry; names in backticks. ``chosen``: rows that were tuned."""
    sentences = [
        _data(task, grid.every, grid.split),
        *_train_images(grid),
        *_networks(task, grid.every),
        *_training(task, grid.every),
        *_selection(task),
    ]
    never = [label for label in grid.labels if label not in {*chosen, *_rows_of(task)}]
    if never:
        sentences.append(f"Not tuned (method's defaults, or parameters in the row's name): {listed(never, most=None)}.")
    return sentences


def of_task(task: Task) -> list[str]:
    """What a task fixes, before there are records."""
    return [_data(task, (), "test"), *_networks(task, ()), *_training(task, ()), *_selection(task)]


def _selection(task: Task) -> list[str]:
    text = " ".join(task.selection.split())
    return [f"Parameters: {text}" + ("" if text.endswith((".", "!", "?")) else ".")] if text else []


def _data(task: Task, records: Sequence[Record], split: str) -> str:
    data = [record.data for record in records if record.data]
    text = f"Data: {_images(task.target)}"
    if data:
        text += f", content {listed({d.content for d in data})}, {' or '.join(map(str, _set(d.classes for d in data)))}"
        text += f" classes, {' or '.join(f'{n:,}' for n in _set(d.scored_images for d in data))} scored {split} images"
    views = "no augmentation" if task.student.training.augment is None else "a new view of every image at every step"
    return f"{text}; inputs normalised {_normalised(task)}, {views}."


def _normalised(task: Task) -> str:
    if task.teacher is None:
        return "by the statistics of all training images"
    if task.teacher.pretrained is not None:
        return "as the teacher's configuration says"
    return "by the statistics of the teacher's training images"


def _images(images: Images) -> str:
    if images.classes is None:
        return code(images.dataset) + (
            f" at {images.size}×{images.size} pixels (resized, and cropped to the middle)" if images.size else ""
        )
    return f"{code(images.dataset)} (its classes {', '.join(map(str, images.classes))})"


def _train_images(grid: Grid) -> list[str]:
    parts = []
    for shots in grid.shots:
        records = [record for label in grid.labels for record in grid.records(label, shots)]
        counts = _set(record.data.train_images for record in records if record.data)
        if counts:
            parts.append(f"{' or '.join(f'{n:,}' for n in counts)} ({per_class(shots)})")
    return [f"Training images: {', '.join(parts)}."] if parts else []


def _networks(task: Task, records: Sequence[Record]) -> list[str]:
    if task.teacher is None:
        return [f"No teacher; network {code(task.student.architecture)}."]
    text = f"Teacher {code(task.teacher.architecture)}, "
    if task.teacher.pretrained is not None:
        text += f"pre-trained on {task.teacher.pretrained.source}"
    if task.teacher.training is not None:
        text += f"trained once on all training images of {_images(task.teacher_images)} "
        text += f"({task.teacher.training.describe()})"
    for accuracy, weights in sorted({(r.teacher.accuracy or 0.0, r.teacher.weights) for r in records if r.teacher}):
        text += f", test accuracy {100 * accuracy:.2f} %" if accuracy else ""
        text += f", weights {code(weights)}"
    student = f"Student {code(task.student.architecture)}"
    if task.student.pretrained is not None:
        student += f"; an oracle starts from its weights of {task.student.pretrained.source}"
        starts = {record.started_from for record in records if record.started_from}
        student += f", {listed(sorted(starts))}" if starts else ""
    return [f"{text}.", f"{student}.", _matched(task.matching)]


def _matched(matching: Matching) -> str:
    """Which layers attention maps and Jacobians are compared at."""
    if matching.layers is None:
        return (
            "Attention is matched at the deepest layers of each map size that both networks have; depths are numbered "
            "from the largest maps."
        )
    pairs = ", ".join(f"{code(mine)} with {code(other)}" for mine, other in matching.layers)
    resized = "; if sizes differ, the larger map is average-pooled" if matching.resize else ""
    return f"Attention is matched at the student's {pairs} of the teacher{resized}."


def _steps(task: Task, records: Sequence[Record]) -> list[str]:
    """The steps of each row, where they differ because all get the same time."""
    found: dict[str, set[int]] = {}
    for record in records if task.budget else ():
        if record.cost:
            found.setdefault(record.label, set()).add(record.cost.steps)
    steps = [f"{code(label)} {' or '.join(f'{n:,}' for n in sorted(there))}" for label, there in sorted(found.items())]
    return [f"Steps: {', '.join(steps)}."] if steps else []


_EQUAL = {
    None: "Equal budget: at a seed all methods get the same images, initial student weights, order of batches and "
    "steps.",
    "time": "Equal time: at a seed all methods get the same images, initial student weights and order of batches, and "
    "as many steps as fit into the time of the most expensive method profiled first; costs were measured in turns on "
    "one machine.",
}


def _training(task: Task, records: Sequence[Record]) -> list[str]:
    sentences = [
        f"Training of every method: {task.student.training.describe()}.",
        _EQUAL[task.budget],
        *_steps(task, records),
        "The number is the last epoch's, never the best on test.",
    ]
    sentences.append(f"Batch norm in the student's Jacobian pass: {_BATCH_NORM[task.matching.batch_norm]}.")
    if any(task.evaluation.noise):
        draws = plural(task.evaluation.noise_draws, "draw")
        sentences.append(f"Noise: Gaussian, on normalised test inputs, {draws} an image, the same for all methods.")
    return sentences


def provenance(task: Task, grid: Grid) -> list[str]:
    """Task, protocol and seeds; version, commit and device of the records."""
    records = grid.every
    ours = f"Task {code(task.name)} version {task.version}, protocol {code(task.protocol)}"
    seeds = sorted({record.seed for record in records})
    if seeds:
        ours += f", {'seeds' if len(seeds) > 1 else 'seed'} {ranges(seeds)}"
    places = [record.environment for record in records if record.environment]
    if not places:
        return [f"{ours}."]
    text = f"jkbench {', '.join(_set(p.jkbench for p in places))}"
    commits = _set(p.commit[:10] for p in places if p.commit)
    text += f", {'commit' if len(commits) == 1 else 'commits'} {listed(commits)}" if commits else ", outside a checkout"
    dirty = sum(bool(p.dirty) for p in places)
    if dirty:
        text += f" ({dirty:,} of {plural(len(places), 'record')} with uncommitted changes)"
    elif commits:
        text += " (no uncommitted changes)"
    text += f"; torch {', '.join(_set(p.torch for p in places))}"
    text += f"; device {', '.join(_set(p.device for p in places))}; {', '.join(_set(p.precision for p in places))}"
    return [f"{ours}.", f"{text}."]


def _set(values: Iterable[_T]) -> list[_T]:
    return sorted(set(values))
