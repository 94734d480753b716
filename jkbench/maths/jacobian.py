"""Jacobians of a network's outputs with respect to its inputs.

Shapes: x is B×…, D values an image; outputs are B×k; rows B×R are indices into the k outputs; a Jacobian is
B×R×D. Every function works on a graph that already exists: run the network on an ``x`` that requires grad, then ask.

``create_graph`` must be true for the student, else the term has no gradient and trains nothing; for the teacher it
must be false, else memory is wasted. Per-sample rows are gradients of a sum over the batch, which is right only
where no sample's output depends on another's input: batch norm in train mode breaks that (see
`jkbench.models.batchnorm`).

Source: Srinivas & Fleuret, Knowledge Transfer with Jacobian Matching, ICML 2018, sections 3 and 4.
"""

from __future__ import annotations

import torch
from torch import Tensor


def input_gradient(values: Tensor, x: Tensor, create_graph: bool) -> Tensor:
    """The gradient of one number per sample with respect to its input: values B, x B×… → B×D.

    A value that does not depend on ``x`` has gradient zero. Raises RuntimeError where ``x`` does not require grad.
    """
    if not x.requires_grad:
        raise RuntimeError("the input does not require grad: run the network on x.requires_grad_() first")
    if not values.requires_grad:
        return torch.zeros_like(x).flatten(1)
    (gradient,) = torch.autograd.grad(
        values,
        x,
        torch.ones_like(values),
        create_graph=create_graph,
        retain_graph=True,
        allow_unused=True,
        materialize_grads=True,
    )
    return gradient.flatten(1)


def jacobian_rows(outputs: Tensor, x: Tensor, rows: Tensor, create_graph: bool) -> Tensor:
    """Rows of the Jacobian, each sample's own: outputs B×k, x B×…, rows B×R → B×R×D. One backward pass per
    column of ``rows``.

    ``gather`` picks entry (b, rows[b, r]); setting ``grad_output[:, y] = 1`` with a batch of labels would set all
    those columns for every sample.
    """
    chosen = (outputs.gather(1, row[:, None]).squeeze(1) for row in rows.unbind(1))
    gradients = [input_gradient(values, x, create_graph) for values in chosen]
    return torch.stack(gradients, dim=1)


def full_jacobian(outputs: Tensor, x: Tensor, create_graph: bool) -> Tensor:
    """The whole Jacobian: outputs B×k, x B×… → B×k×D. k backward passes and k·D numbers an image."""
    every = torch.arange(outputs.shape[1], device=outputs.device).expand(len(outputs), -1)
    return jacobian_rows(outputs, x, every, create_graph)


def jacobian_vector(outputs: Tensor, x: Tensor, direction: Tensor, create_graph: bool) -> Tensor:
    """J u, the derivative of the outputs along one direction of the inputs for each sample: outputs B×k, x and
    direction B×… → B×k. With u ~ N(0, I_D), ‖J u‖² has ‖J‖² as its mean.

    By two backward passes: vᵀJ is linear in v, and J u is its derivative by v along u.
    """
    weights = torch.zeros_like(outputs, requires_grad=True)
    (pulled,) = torch.autograd.grad(outputs, x, weights, create_graph=True)
    (product,) = torch.autograd.grad(pulled, weights, direction, create_graph=create_graph, retain_graph=True)
    return product


def correct_rows(labels: Tensor) -> Tensor:
    """The row of the correct class (section 4.1): labels B → B×1."""
    return labels[:, None]


def largest_rows(teacher_logits: Tensor) -> Tensor:
    """The row of the teacher's largest output, for where its outputs are not the labels: B×k → B×1.

    The student takes the same index, not its own largest.
    """
    return teacher_logits.detach().argmax(dim=1, keepdim=True)


def top_rows(teacher_logits: Tensor, count: int) -> Tensor:
    """The rows of the teacher's ``count`` largest outputs, largest first: B×k → B×count (at most k)."""
    return teacher_logits.detach().topk(min(count, teacher_logits.shape[1]), dim=1).indices


def random_directions(count: int, dimension: int, generator: torch.Generator) -> Tensor:
    """Uniform random directions on the unit sphere of R^dimension, count×dimension, on the generator's device.

    E[v vᵀ] = I/k, so that k·‖∇⟨v, T − S⟩‖² has the full match sum_i ‖∇T_i − ∇S_i‖² as its mean.
    """
    drawn = torch.randn(count, dimension, generator=generator, device=generator.device)
    return drawn / torch.linalg.vector_norm(drawn, dim=1, keepdim=True)
