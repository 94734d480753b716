"""Losses and distances: sums over classes, rows and pixels, the mean over the batch.

The mean of `torch.nn.functional.mse_loss` is over pixels too, a factor of D: it is not used here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

from jkbench.errors import UserError

# A gradient shorter than this has no direction: normalising it would only amplify rounding.
TINY = 1e-12


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy in nats: logits B×k, labels B → scalar."""
    return functional.cross_entropy(logits, labels)


def alike(student: Tensor, teacher: Tensor) -> None:
    """`UserError` where two tensors that are compared number by number differ in shape."""
    if student.shape != teacher.shape:
        raise UserError(
            f"the student's {tuple(student.shape)} is compared with the teacher's {tuple(teacher.shape)}",
            "map one to the other's width with a module of the method's own (modules)",
        )


def squared_error(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Matching activations, sum_i (T_i − S_i)² (Proposition 1, first term): B×k twice → scalar, mean over the batch.

    Of maps B×C×h×w: a sum over channels, the mean over images and pixels.
    """
    alike(student_logits, teacher_logits)
    return _squared_differences(student_logits, teacher_logits).sum(1).mean()


def squared_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """‖∇T − ∇S‖² over rows and pixels (Proposition 1, second term): B×R×D twice → scalar, mean over the batch."""
    alike(student, teacher)
    return _squared_differences(student, teacher).flatten(1).sum(1).mean()


def squared_norm(jacobian: Tensor) -> Tensor:
    """‖∇S‖² summed over rows and pixels (Proposition 2): B×R×D → scalar, mean over the batch."""
    return squares(jacobian).flatten(1).sum(1).mean()


def squares(values: Tensor) -> Tensor:
    """Each value squared. Torch's own derivative raises to the power of 1 first, one more pass over the values."""
    found: Tensor = _Squares.apply(values)
    return found


def _squared_differences(student: Tensor, teacher: Tensor) -> Tensor:
    return functional.mse_loss(student, teacher, reduction="none")  # one kernel, and one back


def distance(student: Tensor, teacher: Tensor) -> Tensor:
    """‖T − S‖, not squared, over all of a sample's values: B×… twice → scalar, mean over the batch."""
    alike(student, teacher)
    return torch.linalg.vector_norm((student - teacher).flatten(1), dim=1).mean()


def normalised(values: Tensor) -> Tensor:
    """Values divided by their norm along the last axis: …×D → …×D.

    Where the norm vanishes (a dead unit) the result and its derivatives are zero, never NaN.
    """
    found: Tensor = _Normalised.apply(values)
    return found


def plainly_normalised(values: Tensor) -> Tensor:
    """The plain twin of `normalised`, to the same bits; twice differentiable, of more kernels."""
    alive = torch.linalg.vector_norm(values.detach(), dim=-1, keepdim=True) > TINY
    # the root never sees a zero: torch masks its first derivative there, but the second would be NaN
    safe = torch.where(alive, values, torch.ones_like(values))
    return torch.where(alive, safe / torch.linalg.vector_norm(safe, dim=-1, keepdim=True), torch.zeros_like(values))


class _Squares(Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.save_for_backward(values)
        return values.square()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (values,) = ctx.saved_tensors
        return gradient * (2 * values)


class _Normalised(Function):
    """What is divided by a norm of infinity is zero, and so is its gradient: no kernel looks for dead units."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        norm = functional.threshold(torch.linalg.vector_norm(values, dim=-1, keepdim=True), TINY, torch.inf)
        result = values / norm
        ctx.save_for_backward(values, norm, result)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        values, norm, result = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is asked for
            (found,) = torch.autograd.grad(plainly_normalised(values), values, gradient, create_graph=True)
            return found
        along = (gradient * (result / norm)).sum(-1, keepdim=True)
        return gradient / norm - along * result
