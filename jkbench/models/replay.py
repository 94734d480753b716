"""Jacobians at the price of their own passes: a second forward pass that computes nothing again.

With ``per-sample`` statistics (`jkbench.models.batchnorm`) the Jacobian pass has the values of the training pass and
another graph: the statistics are constant in the inputs. So its convolutions, batch norms, ReLUs and max-poolings
take their values from the training pass, and only their derivatives are new. Three things are saved, in units of one
forward pass (a step of cross-entropy is 3: forward, and backward by inputs and weights):

* the second forward pass (1);
* the way back through it in the backward pass (2): torch's second derivative of ReLU and max-pooling is a tensor of
  zeros, which its engine then carries through every layer below. Here it is nothing, and the engine stops;
* the second derivative of a convolution: torch takes it by the weights with a convolution of the size of the image.
  Here the input gradient is an operation of its own, whose backward pass is the usual two of a convolution.

What is left is 6 units, twice a step of cross-entropy: forward 1, backward 2, input gradient 1, its backward 2.
Whatever else a network calls (other activations, attention, a head) is computed as ever, second derivatives included.
Where the training pass drew random numbers (dropout), the Jacobian pass draws its own and computes its own values:
only the statistics are the training pass's. The plain twin of it all is `batchnorm.recorded_inputs` and
`statistics_of`; `tests/test_replay.py` holds both equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional
from torch.nn.modules.utils import _pair
from torch.overrides import TorchFunctionMode

from jkbench.models.batchnorm import norms

_aten = torch.ops.aten


@dataclass
class Call:
    """One operation of the training pass: its result, and what its second derivative needs beside it."""

    operation: Callable[..., Any]
    result: Tensor
    version: int
    given: Tensor
    """The input: a batch norm's statistics are taken of it, with its graph."""
    places: Tensor | None = None
    """Where a max-pooling found its maxima."""

    @property
    def value(self) -> Tensor | None:
        """The result as a constant; None where something has written into it since (an activation in place)."""
        return self.result.detach() if self.result._version == self.version else None


@dataclass
class Recording:
    """A training pass, operation by operation."""

    network: nn.Module
    calls: list[Call] = field(default_factory=list)
    repeatable: bool = True
    """Whether the pass drew no random numbers, so that its values may be taken again."""


@contextmanager
def recording(network: nn.Module) -> Iterator[Recording]:
    """Record forward passes of ``network`` inside the context."""
    kept = Recording(network)
    before = _random_state(network)
    with _Recorder(kept.calls):
        yield kept
    kept.repeatable = torch.equal(before, _random_state(network))


def recorded_again(network: nn.Module, x: Tensor) -> Recording:
    """The record of one more training pass, which leaves running statistics and their counters as they are."""
    before = [(buffer, buffer.clone()) for norm in norms(network) for buffer in norm.buffers()]
    with recording(network) as kept:
        network(x)
    with torch.no_grad():
        for buffer, value in before:
            buffer.copy_(value)
    return kept


@contextmanager
def replayed(kept: Recording) -> Iterator[None]:
    """A forward pass of the same network over the same images has the values of the recorded one, and per-sample
    derivatives by its input. Raises RuntimeError where the pass calls other operations than the recorded one did."""
    calls = kept.calls if kept.repeatable else [replace(call, version=-1) for call in kept.calls]
    counters = [norm.num_batches_tracked for norm in norms(kept.network)]
    with _Replay(calls, counters):
        yield


def _random_state(network: nn.Module) -> Tensor:
    where = next((p.device for p in network.parameters()), torch.device("cpu"))
    return torch.cuda.get_rng_state(where) if where.type == "cuda" else torch.get_rng_state()


class _Recorder(TorchFunctionMode):
    def __init__(self, calls: list[Call]) -> None:
        super().__init__()
        self.calls = calls

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        places = None
        if func is functional.max_pool2d and not kwargs.get("return_indices"):
            out, places = functional.max_pool2d_with_indices(*args, **kwargs)
        else:
            out = func(*args, **kwargs)
        if func in _REPLAYED and isinstance(out, Tensor):
            self.calls.append(Call(func, out, out._version, args[0] if args else kwargs["input"], places))
        return out


class _Replay(TorchFunctionMode):
    def __init__(self, calls: Sequence[Call], counters: Sequence[Tensor | None]) -> None:
        super().__init__()
        self.calls = iter(calls)
        self.counters = {id(counter) for counter in counters}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        twin = _REPLAYED.get(func)
        if func is Tensor.add_ and id(args[0]) in self.counters:  # a batch norm counts its batches: this is no new one
            return args[0]
        if twin is None:
            return func(*args, **kwargs)
        call = next(self.calls, None)
        given = args[0] if args else kwargs["input"]
        if call is None or call.operation is not func or call.given.shape != given.shape:
            raise RuntimeError("the Jacobian pass calls other operations than the training pass: it cannot be replayed")
        return twin(call, *args, **kwargs)


def _convolution(
    call: Call, input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    value = call.value
    if isinstance(padding, str) or value is None or not _batched(input):
        return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)
    shape = (list(_pair(stride)), list(_pair(padding)), list(_pair(dilation)), False, [0, 0], groups)
    by_weight = _ConvolutionByWeight.apply(value, input.detach(), weight, bias, shape)
    return _ConvolutionByInput.apply(by_weight, input, weight, shape)


def _batched(input: Tensor) -> bool:
    return input.ndim == 4


class _ConvolutionByWeight(Function):
    """The value of a convolution, and its gradient by weight and bias. A node of its own beside the one by the input:
    whoever asks for the gradient by the images pays for that alone."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, input: Tensor, weight: Tensor, bias: Tensor | None, shape: Any) -> Tensor:
        ctx.save_for_backward(input, weight)
        ctx.shape, ctx.bias = shape, bias is not None
        ctx.set_materialize_grads(False)
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None) -> Any:
        if gradient is None:
            return None, None, None, None, None
        input, weight = ctx.saved_tensors
        asked = [False, ctx.needs_input_grad[2], ctx.bias and ctx.needs_input_grad[3]]
        _, by_weight, by_bias = _aten.convolution_backward(gradient, input, weight, [len(weight)], *ctx.shape, asked)
        return None, None, by_weight, by_bias, None


class _ConvolutionByInput(Function):
    """The value of a convolution, and its gradient by the input, which can be differentiated once more."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, input: Tensor, weight: Tensor, shape: Any) -> Tensor:
        ctx.save_for_backward(input, weight)
        ctx.shape = shape
        ctx.set_materialize_grads(False)
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None) -> Any:
        if gradient is None:
            return None, None, None, None
        input, weight = ctx.saved_tensors
        return gradient, _InputGradient.apply(gradient, weight, input.detach(), ctx.shape), None, None


class _InputGradient(Function):
    """The input gradient of a convolution as an operation: bilinear in the gradient of the result and the weight.

    ⟨u, input gradient(g, w)⟩ = ⟨convolution(u, w), g⟩, so that by g it is a convolution, and by w the weight gradient
    of that convolution.
    """

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, weight: Tensor, input: Tensor, shape: Any) -> Tensor:
        ctx.save_for_backward(gradient, weight)
        ctx.shape = shape
        ctx.set_materialize_grads(False)
        return _aten.convolution_backward(gradient, input, weight, None, *shape, [True, False, False])[0]

    @staticmethod
    def backward(ctx: Any, incoming: Tensor | None) -> Any:
        if incoming is None:
            return None, None, None, None
        gradient, weight = ctx.saved_tensors
        stride, padding, dilation, _, _, groups = ctx.shape
        by_gradient = by_weight = None
        if ctx.needs_input_grad[0]:
            by_gradient = torch.conv2d(incoming, weight, None, stride, padding, dilation, groups)
        if ctx.needs_input_grad[1]:
            asked = [False, True, False]
            by_weight = _aten.convolution_backward(gradient, incoming, weight, None, *ctx.shape, asked)[1]
        return by_gradient, by_weight, None, None


def _batch_norm(
    call: Call, input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
    bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Of batch statistics (constant in this input), or running ones where the module is in evaluation mode."""
    if training or running_mean is None or running_var is None:
        mean, deviation = _Statistics.apply(call.given, eps)
    else:
        flat = [-1] + [1] * (input.ndim - 2)
        mean, deviation = running_mean.clone().view(flat), (running_var + eps).rsqrt().view(flat)
    like = mean.shape
    scale = deviation if weight is None else deviation * weight.view(like)
    shift = -mean * scale if bias is None else bias.view(like) - mean * scale
    value = call.value
    if value is None:
        return torch.addcmul(shift, input, scale)
    by_parameters = _AffineByParameters.apply(value, input.detach(), scale, shift)
    return _AffineByInput.apply(by_parameters, input, scale)


class _Statistics(Function):
    """Mean and reciprocal deviation of each channel, 1×C×1…: input B×C×…, both differentiable by it.

    As a function of its own because `torch.var_mean` on CPU takes some ten times as long as these two means.
    """

    @staticmethod
    def forward(ctx: Any, input: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        rest = [0, *range(2, input.ndim)]
        mean = input.mean(rest, keepdim=True)
        deviation = ((input - mean).square_().mean(rest, keepdim=True) + eps).rsqrt_()
        ctx.save_for_backward(input, mean, deviation)
        ctx.set_materialize_grads(False)
        return mean, deviation

    @staticmethod
    def backward(ctx: Any, by_mean: Tensor | None, by_deviation: Tensor | None) -> Any:
        input, mean, deviation = ctx.saved_tensors
        count = input.numel() // input.shape[1]
        if by_deviation is None:
            return (None if by_mean is None else (by_mean / count).expand_as(input)), None
        slope = -by_deviation * deviation**3 / count
        offset = -mean * slope if by_mean is None else by_mean / count - mean * slope
        return torch.addcmul(offset, input, slope), None


class _AffineByParameters(Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, input: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        ctx.save_for_backward(input)
        ctx.set_materialize_grads(False)
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None) -> Any:
        if gradient is None:
            return None, None, None, None
        (input,) = ctx.saved_tensors
        rest = [0, *range(2, input.ndim)]
        return None, None, (gradient * input).sum(rest, keepdim=True), gradient.sum(rest, keepdim=True)


class _AffineByInput(Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, input: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(scale)
        ctx.set_materialize_grads(False)
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None) -> Any:
        if gradient is None:
            return None, None, None
        (scale,) = ctx.saved_tensors
        return gradient, gradient * scale, None


def _relu(call: Call, input: Tensor, inplace: bool = False) -> Tensor:
    value = call.value
    return _Relu.apply(input, input.clamp_min(0) if value is None else value)


class _Relu(Function):
    """Linear where it is differentiable: its second derivative is nothing, not a tensor of zeros."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, value: Tensor) -> Tensor:
        ctx.save_for_backward(value)
        ctx.set_materialize_grads(False)
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None) -> Any:
        if gradient is None:
            return None, None
        (value,) = ctx.saved_tensors
        return _aten.threshold_backward(gradient, value.detach(), 0), None


def _max_pool(
    call: Call, input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Tensor:  # fmt: skip
    value = call.value
    if value is None or call.places is None or not _batched(input):
        again: Any = functional.max_pool2d
        return again(input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)
    shape = (list(_pair(kernel_size)), list(_pair(stride or kernel_size)), list(_pair(padding)), list(_pair(dilation)))
    return _MaxPool.apply(input, value, call.places, (*shape, ceil_mode))


class _MaxPool(Function):
    """A choice of pixels, and linear in them: its second derivative is nothing."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, value: Tensor, places: Tensor, shape: Any) -> Tensor:
        ctx.save_for_backward(input, places)
        ctx.shape = shape
        ctx.set_materialize_grads(False)
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None) -> Any:
        if gradient is None:
            return None, None, None, None
        input, places = ctx.saved_tensors
        return _Unpool.apply(gradient, input.detach(), places, ctx.shape), None, None, None


class _Unpool(Function):
    @staticmethod
    def forward(ctx: Any, gradient: Tensor, input: Tensor, places: Tensor, shape: Any) -> Tensor:
        ctx.save_for_backward(places)
        ctx.set_materialize_grads(False)
        return _aten.max_pool2d_with_indices_backward(gradient, input, *shape, places)

    @staticmethod
    def backward(ctx: Any, incoming: Tensor | None) -> Any:
        if incoming is None:
            return None, None, None, None
        (places,) = ctx.saved_tensors
        if incoming.is_contiguous(memory_format=torch.channels_last):  # gather along the pixels in the layout it has
            pixels = incoming.permute(0, 2, 3, 1).flatten(1, 2)
            chosen = pixels.gather(1, places.permute(0, 2, 3, 1).flatten(1, 2))
            return chosen.unflatten(1, places.shape[2:]).permute(0, 3, 1, 2), None, None, None
        return incoming.flatten(2).gather(2, places.flatten(2)).view_as(places), None, None, None


_REPLAYED: dict[Any, Callable[..., Any]] = {
    torch.conv2d: _convolution,
    functional.batch_norm: _batch_norm,
    functional.relu: _relu,
    torch.relu: _relu,
    functional.max_pool2d: _max_pool,
}
