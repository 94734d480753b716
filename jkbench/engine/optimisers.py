"""Torch's optimisers without its compiler, whose import takes longer than a small trial."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch.optim import Optimizer

_WRAPPED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


def uncompiled(kind: type[Optimizer]) -> Any:
    """The same optimiser, to the same bits, whose methods do not import ``torch._dynamo`` (1.2 s).

    Torch wraps them for the case that a training step is compiled; here is what lies inside the wrappers. ``step`` is
    under ``no_grad``, as the wrapper has it where an optimiser is not differentiated through.
    """
    inside = {name: inspect.unwrap(getattr(kind, name)) for name in _WRAPPED}
    return type(kind.__name__, (kind,), {**inside, "step": torch.no_grad()(inspect.unwrap(kind.step))})
