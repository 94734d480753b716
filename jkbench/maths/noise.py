"""What Gaussian noise on the inputs adds to a loss, to second order: the propositions, as printed and whole.

For any twice differentiable f, E f(x + ξ) = f(x) + (σ²/2) Δf(x) + O(σ⁴) with ξ ~ N(0, σ² I). Each function here gives
the coefficient of σ² of one loss at one image: (1/2) Δf, or what the paper prints for it. T and S are the teacher's and
the student's maps from D inputs to k logits, ^s the softmax of them, y a one-hot label.

The inputs of every function are what `expansion` gives: values (k), Jacobian (k×D) and Laplacians (k) at one image.

Source: Srinivas & Fleuret 2018, Propositions 1 and 2, equations 2 and 3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import hessian, jacrev

Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Expansion:
    """A map R^D → R^k at one point, to second order: value k, Jacobian k×D, Laplacian k."""

    value: Tensor
    jacobian: Tensor
    laplacian: Tensor


def expansion(function: Map, x: Tensor) -> Expansion:
    """The second-order expansion of a map at x (D). The Hessian is k·D² numbers: for small images."""
    second = hessian(function)(x)
    return Expansion(function(x), jacrev(function)(x), second.diagonal(dim1=-2, dim2=-1).sum(-1))


def softmaxed(logits: Map) -> Map:
    """The map to probabilities."""
    return lambda x: logits(x).softmax(-1)


def squared_error_printed(t: Expansion, s: Expansion) -> Tensor:
    """Proposition 1: sum_i ‖∇T_i − ∇S_i‖², of the loss sum_i (T_i − S_i)². Whole where both are locally linear."""
    return (t.jacobian - s.jacobian).square().sum()


def squared_error_whole(t: Expansion, s: Expansion) -> Tensor:
    """Proposition 1 for smooth maps: + sum_i (T_i − S_i)(ΔT_i − ΔS_i)."""
    return squared_error_printed(t, s) + ((t.value - s.value) * (t.laplacian - s.laplacian)).sum()


def cross_entropy_printed(t: Expansion, s: Expansion) -> Tensor:
    """Equation 2 as printed, of −sum_i T^s_i log S^s_i: −sum_i ∇T^s_i·∇S^s_i / S^s_i. Arguments are softmaxed maps."""
    return -((t.jacobian * s.jacobian).sum(1) / s.value).sum()


def cross_entropy_whole(t: Expansion, s: Expansion) -> Tensor:
    """Equation 2, the whole term: −(1/2) sum_i [ΔT^s_i log S^s_i + 2 ∇T^s_i·∇S^s_i / S^s_i + T^s_i ΔS^s_i / S^s_i
    − T^s_i ‖∇S^s_i‖² / (S^s_i)²]."""
    products, squares = (t.jacobian * s.jacobian).sum(1), s.jacobian.square().sum(1)
    terms = t.laplacian * s.value.log() + 2 * products / s.value
    terms = terms + t.value * s.laplacian / s.value - t.value * squares / s.value.square()
    return -terms.sum() / 2


def label_error_printed(y: Tensor, s: Expansion) -> Tensor:
    """Proposition 2: sum_i ‖∇S_i‖², of sum_i (y_i − S_i)². Whole where S is locally linear."""
    return s.jacobian.square().sum()


def label_error_whole(y: Tensor, s: Expansion) -> Tensor:
    """Proposition 2 for smooth maps: − sum_i (y_i − S_i) ΔS_i."""
    return label_error_printed(y, s) - ((y - s.value) * s.laplacian).sum()


def label_cross_entropy_printed(y: Tensor, s: Expansion) -> Tensor:
    """Equation 3 as printed, of −sum_i y_i log S^s_i: sum_i y_i ‖∇S^s_i‖² / (S^s_i)². Softmaxed."""
    return (y * s.jacobian.square().sum(1) / s.value.square()).sum()


def label_cross_entropy_whole(y: Tensor, s: Expansion) -> Tensor:
    """Equation 3, the whole term: (1/2) sum_i y_i [‖∇S^s_i‖² / (S^s_i)² − ΔS^s_i / S^s_i]."""
    return (y * (s.jacobian.square().sum(1) / s.value.square() - s.laplacian / s.value)).sum() / 2


def monte_carlo(
    loss: Callable[[Tensor], Tensor], x: Tensor, sigma: float, draws: int, generator: torch.Generator
) -> tuple[float, float]:
    """(E loss(x + ξ) − loss(x)) / σ² and its standard error, from ``draws`` pairs of ξ and −ξ.

    ``loss`` maps N×D inputs to N losses. Pairs cancel what is odd in ξ, which is most of the variance. The estimate
    has a bias of order σ² from the fourth derivative.
    """
    xi = sigma * torch.randn(draws, len(x), generator=generator, dtype=x.dtype)
    pairs = (loss(x + xi) + loss(x - xi)) / 2 - loss(x[None])
    scaled = pairs / sigma**2
    return float(scaled.mean()), float(scaled.std() / draws**0.5)
