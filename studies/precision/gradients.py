"""How far rounding moves the first step's gradient: `gradients.py TASK…` writes `gradients.json` beside this file.

The gradient of the whole loss by all weights of the student, at initialisation and on the first batch, against the same
in float64; the error is relative, in Frobenius norm. The teacher's signals are the same float32 numbers in all. tf32
exists on a GPU alone: here the factors of products and convolutions are rounded to its 10 bits, and sums stay float32.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from jkbench import planning
from jkbench.engine import images
from jkbench.engine.setup import Where, make_ready, trained_networks
from jkbench.planning import Trial
from jkbench.plugins.discovery import discover
from jkbench.tasks import task as tasks
from jkbench.tasks.task import Precision

HERE = Path(__file__).parent
CPU = torch.device("cpu")
METHODS = ("distill", "jacobian", "jacobian[normalise=true]", "attention-jacobian")
SHOTS = 10
SEEDS = 5
aten = torch.ops.aten
FACTORS = {aten.convolution: (0, 1), aten.convolution_backward: (0, 1, 2), aten.mm: (0, 1), aten.addmm: (1, 2)}
"""Kernels that a GPU takes in tf32, and which of their arguments are factors."""


def rounded(value: Tensor) -> Tensor:
    """float32 to the nearest number of 10 bits behind the leading one (ties to even)."""
    bits = value.view(torch.int32)
    return ((bits + 0xFFF + (bits >> 13 & 1)) & ~0x1FFF).view(torch.float32)


class Tf32(TorchDispatchMode):
    """Products and convolutions with rounded factors."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        at = FACTORS.get(func._overloadpacket, ())
        args = [rounded(each) if number in at else each for number, each in enumerate(args)]
        return func(*args, **(kwargs or {}))


def gradient(trial: Trial, kind: str) -> Tensor:
    """The gradient of the first loss, in float64: computed in ``kind``, a precision or float64."""
    precision: Precision = "bfloat16" if kind == "bfloat16" else "float32"
    trial = replace(trial, task=trial.task.model_copy(update={"precision": precision}))
    data = images.of_task(trial.task, trial.datasets)
    trained = trained_networks(trial, Where(CPU, HERE.parent.parent / "leaderboard"), data)
    ready = make_ready(trial, CPU, data, trained)
    step, batch = ready.loop.program, ready.loop.batch(0)
    list(ready.method.loss(batch, *step.signals(batch)))  # the teacher's signals are computed, and cached
    if kind == "float64":
        ready.student.double()
        batch = replace(batch, x=batch.x.double(), shown=None)
        step.cache._cached = {name: values.double() for name, values in step.cache._cached.items()}
    with Tf32() if kind == "tf32" else nullcontext():
        total = torch.stack([term for _, term in ready.method.loss(batch, *step.signals(batch))]).sum()
        found = torch.autograd.grad(total, list(ready.student.parameters()))
    return torch.cat([each.flatten().double() for each in found])


def errors(task: str) -> Iterator[tuple[str, dict[str, list[float]]]]:
    """Relative errors by row and precision, one for each seed."""
    index = discover(working=HERE.parent.parent)
    for name in METHODS:
        plan = planning.make(tasks.load(task), index, name, shots=[SHOTS], seeds=list(range(SEEDS)))
        found: dict[str, list[float]] = {"float32": [], "tf32": [], "bfloat16": []}
        for trial in plan.trials:
            exact = gradient(trial, "float64")
            for kind, kept in found.items():
                kept.append(float(f"{(gradient(trial, kind) - exact).norm() / exact.norm():.3g}"))
        print(task, name, found, file=sys.stderr)
        yield name, found


if __name__ == "__main__":
    torch.set_num_threads(1)
    file = HERE / "gradients.json"
    kept = json.loads(file.read_text()) if file.is_file() else {}
    kept |= {task: dict(errors(task)) for task in sys.argv[1:]}
    file.write_text(json.dumps(kept, indent=1) + "\n")
