"""Records made up for tests of what is written from records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jkbench.records.schema import Record
from jkbench.records.select import Chosen
from jkbench.report.document import Entry, Table
from jkbench.tasks.task import Task

RECIPE = {"learning_rate": 1e-3, "steps": 500, "drop_at": 400, "batch": 64}
METHODS = {
    "scratch": 0.0,
    "distill": 0.09,
    "noise": 0.10,
    "jacobian": 0.13,
    "jacobian[ce=0]": 0.128,
    "jacobian[act=0]": 0.06,
    "attention": 0.10,
    "attention-jacobian": 0.105,
    "lwf": 0.02,
    "finetune": 0.30,
}


def make_task(**changes: Any) -> Task:
    """A small task; robustness tasks get noise and no teacher."""
    content: dict[str, Any] = {
        "name": "digits-fewshot",
        "version": 1,
        "kind": "distillation",
        "title": "Handwritten digits, few shots",
        "shots": [1, 5, 10, 50],
        "target": {"dataset": "digits"},
        "student": {"architecture": "vgg4", "training": RECIPE},
        "teacher": {"architecture": "vgg9", "training": RECIPE},
        "selection": "lambda was chosen on 10 validation images a class, at 5 per class & 2 seeds_x",
    }
    content |= changes
    if content["kind"] == "robustness":
        content["teacher"] = None
    return Task.model_validate(content)


def make_record(task: Task, label: str, shots: int | str, seed: int, **changes: Any) -> Record:
    """A finished trial; ``changes`` replaces fields, and ``accuracy`` is short for the metric."""
    accuracy = changes.pop("accuracy", 0.5)
    method = label.split("[")[0]
    teacher = {"recipe": "r" * 16, "weights": "w" * 16, "architecture": "vgg9", "accuracy": 0.981}
    content: dict[str, Any] = {
        "id": f"{task.name}-{label}-{shots}-{seed}",
        "task": task.name,
        "task_version": task.version,
        "protocol": task.protocol,
        "method": method,
        "parameters": {},
        "label": label,
        "code": f"code-{method}",
        "reference": method == "finetune",
        "shots": shots,
        "seed": seed,
        "split": "test",
        "status": "ok",
        "metrics": {"accuracy": accuracy, "nll": 1.5 - accuracy, "ece": 0.1, "agreement": min(1.0, accuracy + 0.01)},
        "cost": {
            "seconds": 12.5,
            "step_ms": 25.0 if "jacobian" in label else 10.0,
            "steps": 500,
            "peak_memory_mb": 812.4,
            "trainable_parameters": 1_234_567,
            "alone": True,
        },
        "teacher": teacher if task.teacher else None,
        "data": {
            "dataset": "digits",
            "content": "c" * 16,
            "train_images": 1400 if shots == "full" else 10 * int(shots),
            "scored_images": 360,
            "classes": 10,
        },
        "pairing": {"subset": f"s{shots}-{seed}", "initial": f"i{seed}", "order": f"o{shots}-{seed}"},
        "environment": {
            "jkbench": "0.1.0",
            "python": "3.11.7",
            "torch": "2.9.0",
            "device": "NVIDIA H200",
            "threads": 8,
            "precision": "float32, TF32 off",
            "platform": "Linux",
            "commit": "0123456789abcdef",
            "dirty": False,
        },
        "created": f"2026-01-01T00:00:{seed:02d}+00:00",
    }
    if changes.get("status", "ok") != "ok":
        content |= {"metrics": {}, "cost": None, "message": "somewhere.py:3\nDiverged: the loss is nan at step 7"}
    return Record.model_validate(content | changes)


def make_records(
    task: Task, methods: Sequence[str] = tuple(METHODS), seeds: int = 5, shots: Sequence[int | str] | None = None
) -> list[Record]:
    """A full grid with seed effects shared by all methods, as pairing makes them."""
    generator = np.random.default_rng(3)
    records = []
    for place, regime in enumerate(shots or task.shots):
        shared = generator.normal(0, 0.015, seeds)
        for label in methods:
            for seed in range(seeds):
                accuracy = 0.3 + 0.12 * place + METHODS[label] / (1 + place) + shared[seed]
                accuracy += generator.normal(0, 0.006)
                record = make_record(task, label, regime, seed, accuracy=float(accuracy))
                if task.kind == "robustness":
                    drop = 1.5 if label == "scratch" else 0.8
                    noisy = {f"accuracy@{s:g}": float(accuracy * np.exp(-drop * s)) for s in task.evaluation.noise if s}
                    metrics = {"accuracy": accuracy, "nll": 1.0, "ece": 0.1} | noisy
                    record = record.model_copy(update={"metrics": metrics})
                records.append(record)
    return records


def make_chosen(**changes: Any) -> Chosen:
    """Ten methods, four regimes, five seeds; two trials diverged and one cell was not run."""
    task = make_task()
    kept = []
    for record in make_records(task):
        where = (record.label, record.shots)
        if where == ("attention-jacobian", 1) and record.seed < 2:
            kept.append(make_record(task, record.label, 1, record.seed, status="diverged"))
        elif where != ("lwf", 50):
            kept.append(record)
    expected = [(label, shots) for label in METHODS for shots in task.shots]
    return Chosen(**({"task": task, "records": kept, "stale": 3, "expected": expected} | changes))


def make_robustness() -> Chosen:
    """Accuracy under noise in two regimes, three methods, six seeds."""
    task = make_task(
        name="digits-noise",
        kind="robustness",
        title="Digits under noise",
        shots=[50, "full"],
        evaluation={"noise": [0, 0.1, 0.2, 0.3, 0.4], "noise_draws": 3},
    )
    return Chosen(task, make_records(task, ["scratch", "noise", "jacobian"], seeds=6))


def few(**changes: dict) -> Chosen:
    """Two methods, two regimes, three seeds; ``changes`` by "label/shots/seed"."""
    task = make_task(shots=[1, 5])
    records = make_records(task, ["scratch", "distill"], seeds=3)
    places = {f"{r.label}/{r.shots}/{r.seed}": i for i, r in enumerate(records)}
    for place, change in changes.items():
        records[places[place]] = records[places[place]].model_copy(update=change)
    return Chosen(task, records)


def rows_of(table: Table) -> dict[str, tuple[Entry, ...]]:
    """A table's rows by name, without the name."""
    return {str(row[0].text).strip("`"): row[1:] for row in table.rows}
