"""Batch-norm statistics in the pass that Jacobians are computed through.

In train mode a batch norm divides each sample by statistics of the whole batch, so that every sample's output depends
on every sample's input, and the gradient of a sum of logits is not a per-sample Jacobian. A task chooses one of:

* ``per-sample`` (`recorded_inputs`, `statistics_of`): the batch's statistics, constant in the inputs but not in the
  weights. A per-sample Jacobian of the function that train mode computes, with its full weight gradient.
  (`jkbench.models.replay` computes the same in half the time.)
* ``batch``, ``running``, ``constant`` (`batch_norm_statistics`): its docstring says what each leaves out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal, get_args
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from jkbench.errors import UserError

Statistics = Literal["batch", "running", "constant"]

_NORMS: WeakKeyDictionary[nn.Module, tuple[_BatchNorm, ...]] = WeakKeyDictionary()


def norms(network: nn.Module) -> tuple[_BatchNorm, ...]:
    """The batch norms of a network, searched once: its modules must not change afterwards."""
    if network not in _NORMS:
        _NORMS[network] = tuple(module for module in network.modules() if isinstance(module, _BatchNorm))
    return _NORMS[network]


@contextmanager
def unmoved(network: nn.Module) -> Iterator[None]:
    """Passes inside the context leave running statistics and their counters as they were."""
    before = [(norm, dict(norm.named_buffers())) for norm in norms(network) if norm.training]
    for norm, buffers in before:
        for name, value in buffers.items():
            setattr(norm, name, value.clone())  # not written back afterwards: an earlier pass's graph may hold it
    try:
        yield
    finally:
        for norm, buffers in before:
            for name, value in buffers.items():
                setattr(norm, name, value)


@contextmanager
def batch_norm_statistics(network: nn.Module, mode: Statistics) -> Iterator[None]:
    """Set the statistics of every batch norm in ``network`` for forward passes inside the context.

    For any training flag of a module, with μ and σ² (biased) over the batch and all positions:

    * ``batch``: μ and σ² of the batch, differentiated through. What train mode computes, so the student's own forward
      pass serves at no extra cost; but the samples are coupled: the gradient of a sum over the batch
      by one input contains that input's effect on every other sample. Not a per-sample Jacobian.
    * ``running``: the running averages, as in eval mode. A per-sample Jacobian, of the network as it is evaluated,
      independent of the rest of the batch. Costs a second forward pass besides the one in train mode, and early in
      training the averages lag behind the weights: the function differs from the one that the cross-entropy sees.
    * ``constant``: μ and σ² of the batch, as constants. The values of ``batch`` and a per-sample Jacobian, of the
      function that the weights are trained through at this step. Costs a second forward pass and one more
      reduction a module, and the Jacobian leaves out how the statistics move with inputs and weights.

    All three allow second derivatives (``create_graph=True``) and gradients by the parameters. None updates
    running averages or counters; flags and buffers are changed only while a module runs and are put back even when it
    raises, and the hooks go with the context. Other modules, dropout included, stay as they are. Contexts nest: the
    inner one applies. Recomputation in the backward pass (activation checkpointing) happens outside the context and
    is not covered; nor are batches split over processes: statistics are of the local batch.

    Raises ValueError for another mode, and (in the forward pass, as torch does in train mode) for batch statistics of
    one value per channel; `UserError` for ``running`` if a module has no running statistics.
    """
    if mode not in get_args(Statistics):
        raise ValueError(f"batch-norm statistics are one of {', '.join(get_args(Statistics))}; not {mode!r}")
    named = [(name, module) for name, module in network.named_modules() if isinstance(module, _BatchNorm)]
    for name, module in named:
        if mode == "running" and module.running_mean is None:
            raise UserError(f"batch norm {name or 'itself'!r} has no running statistics", "use constant or batch")
    substitutes = [_Substitute(module, mode) for _, module in named]
    try:
        yield
    finally:
        for substitute in substitutes:
            substitute.remove()


class _Substitute:
    """The hooks of one module: they set other statistics before it runs and restore its own afterwards.

    A batch norm in eval mode uses its running buffers, or the batch's statistics when it has none, and updates
    nothing. All three modes are that, with different buffers.
    """

    def __init__(self, module: _BatchNorm, mode: Statistics) -> None:
        self.module = module
        self.mode = mode
        self.own = (module.running_mean, module.running_var)
        self.before: tuple[bool, Tensor | None, Tensor | None] | None = None
        # prepend: nested contexts restore in reverse order
        self.hooks = [
            module.register_forward_pre_hook(self.put),
            module.register_forward_hook(self.undo, prepend=True, always_call=True),
        ]

    def statistics(self, values: Tensor) -> tuple[Tensor | None, Tensor | None]:
        mean, variance = self.own
        if self.mode == "batch":
            return None, None
        if self.mode == "running" and mean is not None and variance is not None:
            # a copy: the graph holds on to it, and a later pass in train mode writes to the original
            return mean.clone(), variance.clone()
        if values.numel() == values.shape[1]:
            raise ValueError(f"batch statistics need more than one value per channel, got {tuple(values.shape)}")
        values = values.detach()
        kept = next((tensor.dtype for tensor in (mean, self.module.weight) if tensor is not None), values.dtype)
        if values.dtype in (torch.float16, torch.bfloat16):
            values = values.float()
        variance, mean = torch.var_mean(values, [d for d in range(values.ndim) if d != 1], correction=0)
        return mean.to(kept), variance.to(kept)

    def put(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        mean, variance = self.statistics(inputs[0])
        self.before = (self.module.training, self.module.running_mean, self.module.running_var)
        self.module.training = False
        self.module.running_mean, self.module.running_var = mean, variance

    def undo(self, *_: object) -> None:
        if self.before is not None:
            self.module.training, self.module.running_mean, self.module.running_var = self.before
            self.before = None

    def remove(self) -> None:
        for hook in self.hooks:
            hook.remove()
        self.undo()


Inputs = Mapping[_BatchNorm, Sequence[Tensor]]
"""The inputs of each batch norm in a forward pass, call by call."""


@contextmanager
def recorded_inputs(network: nn.Module) -> Iterator[Inputs]:
    """Record the input of every batch norm of ``network`` that uses batch statistics, in passes inside the context.

    A module in evaluation mode (a frozen one) keeps using its running statistics."""
    kept: dict[_BatchNorm, list[Tensor]] = {}

    def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(module, _BatchNorm)
        if module.training or module.running_mean is None:
            kept.setdefault(module, []).append(inputs[0])

    hooks = [m.register_forward_pre_hook(keep) for m in network.modules() if isinstance(m, _BatchNorm)]
    try:
        yield kept
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def statistics_of(network: nn.Module, inputs: Inputs) -> Iterator[None]:
    """Normalise with the batch statistics of an earlier pass, the weights' graph included.

    With ``inputs`` recorded from a pass over the same batch that did not depend on the leaf ``x`` of this one, the
    values are those of train mode, the gradient by ``x`` is per sample, and the gradient by the weights is complete: it
    includes how the statistics change with the weights. (With statistics constant in the weights too, it would have a
    radial part that train mode does not have: a batch norm undoes a rescaling of the weights before it.)
    """
    calls = {module: iter(values) for module, values in inputs.items()}
    before: dict[nn.Module, tuple[bool, Tensor | None, Tensor | None]] = {}

    def put(module: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        assert isinstance(module, _BatchNorm)
        values = next(calls[module])
        variance, mean = torch.var_mean(values, [d for d in range(values.ndim) if d != 1], correction=0, keepdim=True)
        before[module] = (module.training, module.running_mean, module.running_var)
        # the module itself then only scales and shifts (and activates, where it is timm's)
        module.training = False
        flat = mean.detach().flatten()
        module.running_mean, module.running_var = torch.zeros_like(flat), torch.full_like(flat, 1 - module.eps)
        return ((given[0] - mean) * (variance + module.eps).rsqrt(),)

    def undo(module: nn.Module, *_: object) -> None:
        if module in before:
            assert isinstance(module, _BatchNorm)
            module.training, module.running_mean, module.running_var = before.pop(module)

    hooks = [module.register_forward_pre_hook(put) for module in inputs]
    hooks += [module.register_forward_hook(undo, prepend=True, always_call=True) for module in inputs]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for module in list(before):
            undo(module)
