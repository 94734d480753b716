"""Whether a method trains on a GPU with the CPU's bits, tried on a make-believe one."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial

import torch

from jkbench.engine import pretend
from jkbench.engine.images import TaskData
from jkbench.engine.loop import Diverged, Loop
from jkbench.engine.program import Tapes
from jkbench.engine.setup import Ready, make_ready
from jkbench.engine.teacher import TrainedNetwork, weights_hash
from jkbench.models.network import placed, seeded
from jkbench.planning import Trial


def trained_on_a_gpu(trial: Trial, data: TaskData, trained: Mapping[str, TrainedNetwork]) -> tuple[bool, str]:
    """Whether the trial's weights are those of the CPU, and in a sentence how its steps run.

    Raises what the method raises on a GPU.
    """
    wanted, _ = _trained(trial, data, trained, torch.device("cpu"))
    with pretend.gpu():
        moved = {
            role: TrainedNetwork.of(each.recipe, placed(each.copy(), pretend.CUDA), each.accuracy)
            for role, each in trained.items()
        }
        found, ready = _trained(trial, data, moved, pretend.CUDA)
    trace = ready.loop.trace
    if found != wanted:
        return False, "other weights than on the CPU"
    if trace.obstacle is not None:
        return True, f"its steps are not replayed: {trace.obstacle}"
    return True, "its steps are replayed" if trace.replayed else "its own fit runs step by step"


def _trained(
    trial: Trial, data: TaskData, trained: Mapping[str, TrainedNetwork], device: torch.device
) -> tuple[str, Ready]:
    with seeded("layers", trial.seed):
        ready = make_ready(trial, device, data, trained.__getitem__, kind=partial(Loop, recorder=Tapes))
        with suppress(Diverged):  # another line of the check says it
            ready.method.fit(ready.loop)
    return weights_hash(ready.student.state_dict()), ready
