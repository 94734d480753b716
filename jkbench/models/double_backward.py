"""Twice differentiable operations for the pass that Jacobians are computed through (`jkbench.models.replay`).

Each operation is given its value, and its derivative can be differentiated once more: in a convolution and an affine
map it is linear in the weights and the incoming gradient, in ReLU and max-pooling it is a constant choice. None of them
builds a tensor of zeros for a gradient that is absent. Values are B×C×h×w; scales and statistics 1×C×1×1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

_aten = torch.ops.aten


class Join(Function):
    """One value with two backward paths: to the weights through the training pass, and to the images."""

    @staticmethod
    def forward(ctx: Any, result: Tensor, chained: Tensor) -> Tensor:
        ctx.set_materialize_grads(False)
        return result.view_as(result)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None) -> Any:
        return gradient, gradient


class ConvolutionByWeight(Function):
    """The value of a convolution, and its gradient by weight and bias. Separate from the node by the input, so that
    a gradient by the images costs nothing here."""

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


class ConvolutionByInput(Function):
    """The value of a convolution, and its gradient by the input, which can be differentiated once more.

    ``with_weight`` is (weight, shape): not an input of the node, or the backward pass would compute its gradient here.
    """

    @staticmethod
    def forward(ctx: Any, value: Tensor, input: Tensor, with_weight: tuple[Tensor, Any]) -> Tensor:
        ctx.save_for_backward(input)
        ctx.weight, ctx.shape = with_weight
        ctx.set_materialize_grads(False)
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None) -> Any:
        if gradient is None:
            return None, None, None
        (input,) = ctx.saved_tensors
        return gradient, InputGradient.apply(gradient, ctx.weight, input.detach(), ctx.shape), None


class InputGradient(Function):
    """The input gradient of a convolution as an operation: bilinear in the gradient of the result and the weight.

    ⟨u, input gradient(g, w)⟩ = ⟨convolution(u, w), g⟩: its derivative by g is a convolution, and by w the weight
    gradient of that convolution.
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


class BatchStatistics(Function):
    """Mean and scale (weight over deviation) of each channel, 1×C×1…, for several batch norms.

    Kernels on C numbers run once for all norms. Given are ``eps`` of each, then the weights C, then the inputs B×C×…;
    returned are the means, then the scales, differentiable by weights and inputs. Two means, because `torch.var_mean`
    takes about ten times as long on CPU.
    """

    @staticmethod
    def forward(ctx: Any, eps: Sequence[float], *given: Tensor) -> tuple[Tensor, ...]:
        weights, inputs = given[: len(eps)], given[len(eps) :]
        means = [each.mean(_but_channels(each), keepdim=True) for each in inputs]
        centred = (each - mean for each, mean in zip(inputs, means, strict=True))
        deviations = [each.square_().mean(_but_channels(each)) for each in centred]
        torch._foreach_add_(deviations, list(eps))
        torch._foreach_rsqrt_(deviations)
        scales = torch._foreach_mul(deviations, list(weights))
        ctx.save_for_backward(*given, *means, *deviations)
        ctx.set_materialize_grads(False)
        return *means, *(scale.view_as(mean) for scale, mean in zip(scales, means, strict=True))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        count = len(gradients) // 2
        saved = ctx.saved_tensors
        result: list[Tensor | None] = [None] * (1 + 2 * count)
        asked = {norm: each.flatten() for norm, each in enumerate(gradients[count:]) if each is not None}
        weights, inputs, means, deviations = ([saved[part * count + norm] for norm in asked] for part in range(4))
        by_scale, sizes = list(asked.values()), [each.numel() // each.shape[1] for each in inputs]
        by_weight = torch._foreach_mul(by_scale, deviations)
        slopes = torch._foreach_mul(by_scale, weights)
        torch._foreach_mul_(slopes, torch._foreach_pow(deviations, 3))
        torch._foreach_div_(slopes, sizes)
        offsets = torch._foreach_mul([mean.flatten() for mean in means], slopes)
        rows = zip(asked, sizes, by_weight, inputs, means, slopes, offsets, strict=True)
        for norm, size, own, values, mean, slope, offset in rows:
            if (by_mean := gradients[norm]) is not None:
                offset += by_mean.flatten() / size
            by_input = torch.addcmul(offset.view_as(mean), values, slope.view_as(mean), value=-1)
            result[1 + norm], result[1 + count + norm] = own, by_input
        return tuple(result)


def _but_channels(values: Tensor) -> list[int]:
    return [0, *range(2, values.ndim)]


class AffineByParameters(Function):
    """An affine map per channel, and its gradient by scale and shift."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, input: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        ctx.save_for_backward(input)
        ctx.dtype = scale.dtype
        ctx.set_materialize_grads(False)
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None) -> Any:
        if gradient is None:
            return None, None, None, None
        (input,) = ctx.saved_tensors
        parts = (gradient * input, gradient)
        by_scale, by_shift = (each.sum(_but_channels(input), keepdim=True, dtype=ctx.dtype) for each in parts)
        return None, None, by_scale, by_shift


class AffineByInput(Function):
    """An affine map per channel, and its gradient by the input. ``scale`` is (scale,): not an input, as above."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, input: Tensor, scale: tuple[Tensor]) -> Tensor:
        (ctx.scale,) = scale
        ctx.set_materialize_grads(False)
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None) -> Any:
        if gradient is None:
            return None, None, None
        return gradient, gradient * ctx.scale, None


class Relu(Function):
    """ReLU, piecewise linear: its second derivative is absent, not a tensor of zeros."""

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


class MaxPool(Function):
    """Max-pooling, a choice of pixels and linear in them: its second derivative is absent."""

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
        return Unpool.apply(gradient, input.detach(), places, ctx.shape), None, None, None


class Unpool(Function):
    """The gradient of max-pooling as an operation: every value goes back to its pixel."""

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
