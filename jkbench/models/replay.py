"""Jacobians without a second forward pass: its values are taken from the training pass.

With ``per-sample`` statistics (`jkbench.models.batchnorm`) the Jacobian pass has the values of the training pass but
another graph: the statistics are constant in the inputs. So its convolutions, batch norms, ReLUs and max-poolings
take their values from the training pass, and only their derivatives are new. This saves, in units of one forward pass
(a step of cross-entropy is 3: forward, and backward by inputs and weights):

* the second forward pass (1);
* its part of the backward pass (2): torch's second derivative of ReLU and max-pooling is a tensor of zeros, which its
  engine then propagates through every layer below. Here it is absent, and the engine stops;
* the second derivative of a convolution: torch computes it by the weights with a convolution of the size of the image.
  Here the input gradient is an operation with the usual two backward passes of a convolution.

The rest is 6 units, twice a step of cross-entropy: forward 1, backward 2, input gradient 1, its backward 2.

The training pass's graph already holds how the values depend on the weights, and it is the same in both passes. A
result here is therefore a `Join` of two: the training pass's result, which takes the gradients by the weights, and a
chain to the images alone, made of the operations below. After any other operation, the result mixes both, and the next
convolution has its own path to the weights (`ConvolutionByWeight`).

Other operations (activations, attention, a head, a convolution with a computed weight) are computed as usual, second
derivatives included. If the training pass drew random numbers (dropout), the Jacobian pass draws its own and computes
its own values: only the statistics are the training pass's. The plain twin is `batchnorm.recorded_inputs` and
`statistics_of`; `tests/test_replay.py` tests that both are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.utils import _pair
from torch.overrides import TorchFunctionMode

from jkbench.models.batchnorm import norms, unmoved
from jkbench.models.double_backward import (
    AffineByInput,
    AffineByParameters,
    BatchStatistics,
    ConvolutionByInput,
    ConvolutionByWeight,
    Join,
    MaxPool,
    Relu,
)


@dataclass
class Call:
    """One operation of the training pass: its result, and what its second derivative needs."""

    operation: Callable[..., Any]
    result: Tensor
    version: int
    given: Tensor
    """The input: a batch norm's statistics are computed from it, with its graph."""
    given_version: int
    places: Tensor | None = None
    """Where a max-pooling found its maxima."""
    norm: tuple[float, Tensor | None] | None = None
    """Of a batch norm that takes the statistics of its batch: ε, and its weight where that is a parameter."""
    statistics: tuple[Tensor, Tensor] | None = None
    """Its mean and scale (that weight over the deviation), 1×C×1…."""

    @property
    def intact(self) -> bool:
        """Whether the result is unchanged since (an in-place activation would change it)."""
        return self.result._version == self.version

    @property
    def value(self) -> Tensor:
        """The result as a constant."""
        return self.result.detach()


@dataclass
class Recording:
    """A training pass, operation by operation."""

    network: nn.Module
    calls: list[Call] = field(default_factory=list)
    repeatable: bool = True
    """Whether the pass drew no random numbers, so that its values can be reused."""


@contextmanager
def recording(network: nn.Module) -> Iterator[Recording]:
    """Record forward passes of ``network`` inside the context."""
    kept = Recording(network)
    before = None if _SAME_DRAWS.get() else _random_state(network)
    with _Recorder(kept.calls):
        yield kept
    if before is not None:
        _REPEATABLE[network] = torch.equal(before, _random_state(network))
    kept.repeatable = _REPEATABLE[network]


_REPEATABLE: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()
_SAME_DRAWS = ContextVar("whether networks draw random numbers as they did before", default=False)


@contextmanager
def same_draws() -> Iterator[None]:
    """Whether a recorded pass draws is known of the one before it: a step that is captured cannot ask the device."""
    token = _SAME_DRAWS.set(True)
    try:
        yield
    finally:
        _SAME_DRAWS.reset(token)


def recorded_again(network: nn.Module, x: Tensor) -> Recording:
    """Record one more training pass, without changing running statistics and their counters."""
    with unmoved(network), recording(network) as kept:
        network(x)
    return kept


@contextmanager
def replayed(kept: Recording, images: Tensor, values: bool = True) -> Iterator[None]:
    """Give a forward pass over ``images`` the values of the recorded pass, and per-sample derivatives by its input.

    ``images`` are the recorded ones, as a leaf that requires grad; without ``values`` they may be others of the same
    shape, and only the batch-norm statistics are reused. Raises RuntimeError if the pass calls other operations than
    the recorded one did."""
    calls = kept.calls if values and kept.repeatable else [replace(call, version=-1) for call in kept.calls]
    calls = _with_statistics(calls)
    counters = [norm.num_batches_tracked for norm in norms(kept.network)]
    with _Replay(calls, counters, images):
        yield


def _norm(
    running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None, bias: Tensor | None = None,
    training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> tuple[float, Tensor | None] | None:  # fmt: skip
    """`Call.norm` by the arguments of a batch norm."""
    own = weight if isinstance(weight, nn.Parameter) else None
    return (eps, own) if training or running_mean is None or running_var is None else None


def _with_statistics(calls: Sequence[Call]) -> list[Call]:
    """The calls, with the statistics of all batch norms that take those of their batch."""
    norms = [(call, *call.norm) for call in calls if call.norm is not None]
    if any(call.given._version != call.given_version for call, *_ in norms):
        raise RuntimeError("the input of a batch norm was changed in place: its statistics are lost")
    # autocast's own batch norm takes statistics in float32
    inputs = [call.given.float() if call.given.itemsize < 4 else call.given for call, *_ in norms]
    weights = [x.new_ones(x.shape[1]) if own is None else own for x, (*_, own) in zip(inputs, norms, strict=True)]
    found = BatchStatistics.apply([eps for _, eps, _ in norms], *weights, *inputs) if norms else ()
    each = zip(found[: len(norms)], found[len(norms) :], strict=True)
    return [call if call.norm is None else replace(call, statistics=next(each)) for call in calls]


def _random_state(network: nn.Module) -> Tensor:
    where = next((p.device for p in network.parameters()), torch.device("cpu"))
    return torch.cuda.get_rng_state(where) if where.type == "cuda" else torch.get_rng_state()


class _Recorder(TorchFunctionMode):
    def __init__(self, calls: list[Call]) -> None:
        super().__init__()
        self.calls = calls

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in _REPLAYED:
            return func(*args, **kwargs)
        given, *rest = args if args else [kwargs["input"]]
        places = None
        if func is functional.max_pool2d and not kwargs.get("return_indices"):
            out, places = functional.max_pool2d_with_indices(*args, **kwargs)
        else:
            out = func(*args, **kwargs)
        named = {name: value for name, value in kwargs.items() if name != "input"}
        others = [*rest, *named.values()]
        known = func not in (torch.conv2d, functional.max_pool2d) or given.ndim == 4
        known &= isinstance(out, Tensor) and not any(isinstance(value, str) for value in others)
        # a computed weight may depend on the images (conditional convolutions) and have a derivative by them
        known &= not any(isinstance(value, Tensor) and value.grad_fn is not None for value in others)
        norm = _norm(*rest, **named) if func is functional.batch_norm else None
        if known:
            self.calls.append(Call(func, out, out._version, given, given._version, places, norm))
        else:  # without a twin (a single image, padding by name, indices, a computed weight): computed again
            self.calls.append(Call(func, given, -1, given, given._version, norm=norm))
        return out


class _Replay(TorchFunctionMode):
    def __init__(self, calls: Sequence[Call], counters: Sequence[Tensor | None], images: Tensor) -> None:
        super().__init__()
        self.calls = iter(calls)
        self.counters = {id(counter) for counter in counters}
        self.chains: dict[int, tuple[Tensor, Tensor]] = {id(images): (images, images)}
        """Results so far by id, each with its chain to the images."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        twin = _REPLAYED.get(func)
        if (
            func is Tensor.add_ and id(args[0]) in self.counters
        ):  # a batch norm counts its batches, and this is not a new one
            return args[0]
        if twin is None:
            return func(*args, **kwargs)
        call = next(self.calls, None)
        given, *rest = args if args else [kwargs.pop("input")]
        if call is None or call.operation is not func or call.given.shape != given.shape:
            raise RuntimeError("the Jacobian pass calls other operations than the training pass")
        if not call.intact or id(given) not in self.chains:
            return twin(call, given, False, *rest, **kwargs)
        chained = twin(call, self.chains[id(given)][1], True, *rest, **kwargs)
        joined = Join.apply(call.result, chained)
        self.chains[id(joined)] = (joined, chained)
        return joined


def _convolution(
    call: Call, input: Tensor, chained: bool, weight: Tensor, bias: Tensor | None = None, stride: Any = 1,
    padding: Any = 0, dilation: Any = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    if not call.intact:
        return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)
    shape = (list(_pair(stride)), list(_pair(padding)), list(_pair(dilation)), False, [0, 0], groups)
    # of the precision of the recorded pass
    input, weight = input.to(call.result.dtype), weight.to(call.result.dtype)
    bias = None if bias is None else bias.to(call.result.dtype)
    value = call.value if chained else ConvolutionByWeight.apply(call.value, input.detach(), weight, bias, shape)
    return ConvolutionByInput.apply(value, input, (weight, shape))


def _batch_norm(
    call: Call, input: Tensor, chained: bool, running_mean: Tensor | None, running_var: Tensor | None,
    weight: Tensor | None = None, bias: Tensor | None = None, training: bool = False, momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """With batch statistics (constant in this input), or running ones if the module is in evaluation mode."""
    flat = [-1] + [1] * (input.ndim - 2)
    if call.statistics is not None:
        mean, scale = call.statistics
    else:
        assert running_mean is not None
        assert running_var is not None
        mean, scale = running_mean.clone().view(flat), (running_var + eps).rsqrt().view(flat)
    if weight is not None and (call.norm is None or call.norm[1] is None):
        scale = scale * weight.view(flat)
    if chained:
        return AffineByInput.apply(call.value, input, (scale,))
    shift = -mean * scale if bias is None else bias.view(mean.shape) - mean * scale
    if not call.intact:
        return torch.addcmul(shift, input, scale)
    return AffineByInput.apply(AffineByParameters.apply(call.value, input.detach(), scale, shift), input, (scale,))


def _relu(call: Call, input: Tensor, chained: bool, inplace: bool = False) -> Tensor:
    return Relu.apply(input, call.value if call.intact else input.detach().clamp_min(0))


def _max_pool(
    call: Call, input: Tensor, chained: bool, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Tensor:  # fmt: skip
    if not call.intact:
        again: Any = functional.max_pool2d
        return again(input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)
    shape = (list(_pair(kernel_size)), list(_pair(stride or kernel_size)), list(_pair(padding)), list(_pair(dilation)))
    return MaxPool.apply(input, call.value, call.places, (*shape, ceil_mode))


_REPLAYED: dict[Any, Callable[..., Any]] = {
    torch.conv2d: _convolution,
    functional.batch_norm: _batch_norm,
    functional.relu: _relu,
    torch.relu: _relu,
    functional.max_pool2d: _max_pool,
}
