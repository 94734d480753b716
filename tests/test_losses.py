"""Losses and distances by pencil and by finite differences; Propositions 1 and 2 by Monte Carlo."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import CLASSES, IMAGE, generator, images, piecewise_linear
from torch import Tensor
from torch.testing import assert_close

from jkbench import maths
from jkbench.maths import losses


def test_cross_entropy_by_pencil() -> None:
    # equal logits: log 2; odds of 3 to 1 for the other class: log 4. Mean over the batch, in nats.
    logits = torch.tensor([[1.0, 1.0], [math.log(3.0), 0.0]], dtype=torch.float64)
    found = maths.cross_entropy(logits, torch.tensor([0, 1]))
    assert found.item() == pytest.approx((math.log(2) + math.log(4)) / 2, abs=1e-12)


def test_squared_error_by_pencil() -> None:
    # (1² + 2²) and (0² + 3²): sums over classes, mean of two samples
    student = torch.tensor([[1.0, 2.0], [4.0, 1.0]])
    teacher = torch.tensor([[0.0, 4.0], [4.0, 4.0]])
    assert maths.squared_error(student, teacher).item() == 7.0


def test_squared_distance_and_norm_by_pencil() -> None:
    # B 2, R 2, D 2
    student = torch.tensor([[[1.0, 0.0], [0.0, 2.0]], [[1.0, 1.0], [1.0, 1.0]]])
    teacher = torch.tensor([[[0.0, 0.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 4.0]]])
    assert maths.squared_distance(student, teacher).item() == (1 + 4 + 9) / 2
    assert maths.squared_norm(student).item() == (1 + 4 + 4) / 2


def test_distance_by_pencil() -> None:
    # ‖(3, 4)‖ = 5 and ‖(0, 1)‖ = 1; not squared
    student = torch.tensor([[3.0, 4.0], [1.0, 1.0]])
    teacher = torch.tensor([[0.0, 0.0], [1.0, 2.0]])
    assert maths.distance(student, teacher).item() == 3.0


def test_distance_is_over_all_of_a_sample() -> None:
    """Rows are not averaged: B×R×D is one vector of R·D values a sample."""
    assert maths.distance(torch.ones(2, 4, 9), torch.zeros(2, 4, 9)).item() == 6.0


def test_normalised_by_pencil() -> None:
    values = torch.tensor([[[3.0, 4.0], [0.0, -2.0]]], dtype=torch.float64)
    expected = torch.tensor([[[0.6, 0.8], [0.0, -1.0]]], dtype=torch.float64)
    assert_close(maths.normalised(values), expected)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(scale=st.floats(1e-4, 1e4), rows=st.integers(1, 3), pixels=st.integers(2, 6))
def test_normalised_distance_does_not_depend_on_scale(scale: float, rows: int, pixels: int) -> None:
    stream = generator(rows * 10 + pixels)
    student, teacher = (torch.randn(2, rows, pixels, generator=stream, dtype=torch.float64) for _ in range(2))
    expected = maths.squared_distance(maths.normalised(student), maths.normalised(teacher))
    found = maths.squared_distance(maths.normalised(scale * student), maths.normalised(teacher))
    assert_close(found, expected)
    assert_close(maths.normalised(scale * student).norm(dim=-1), torch.ones(2, rows, dtype=torch.float64))
    # ‖a − b‖² = 2 − 2 cos for unit vectors, each row
    cosine = torch.nn.functional.cosine_similarity(student, teacher, dim=-1)
    assert_close(found, (2 - 2 * cosine).sum(1).mean())


@settings(deadline=None, max_examples=20, derandomize=True)
@given(shape=st.lists(st.integers(1, 4), min_size=3, max_size=3), repeats=st.integers(2, 3))
def test_every_loss_is_a_mean_over_the_batch(shape: list[int], repeats: int) -> None:
    """A batch said twice has the same loss; a sample's share does not depend on the others."""
    stream = generator(sum(shape))
    student, teacher = (torch.randn(*shape, generator=stream, dtype=torch.float64) for _ in range(2))
    for loss in (maths.squared_distance, maths.distance, lambda s, t: maths.squared_norm(s - t)):
        each = torch.stack([loss(student[i : i + 1], teacher[i : i + 1]) for i in range(shape[0])])
        assert_close(loss(student, teacher), each.mean())
        assert_close(loss(student.repeat(repeats, 1, 1), teacher.repeat(repeats, 1, 1)), each.mean())


def test_gradients_equal_finite_differences() -> None:
    stream = generator(1)
    student, teacher = (torch.randn(2, 3, 4, generator=stream, dtype=torch.float64) for _ in range(2))
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: maths.squared_distance(s, teacher), student)
    assert torch.autograd.gradcheck(lambda s: maths.distance(s, teacher), student)
    assert torch.autograd.gradcheck(maths.squared_norm, student)
    assert torch.autograd.gradcheck(maths.normalised, student)
    assert torch.autograd.gradgradcheck(maths.normalised, student, teacher.clone().requires_grad_())
    logits = torch.randn(3, 4, generator=stream, dtype=torch.float64)
    labels = torch.tensor([3, 0, 1])
    assert torch.autograd.gradcheck(lambda s: maths.squared_error(s, logits), torch.zeros_like(logits).requires_grad_())
    assert torch.autograd.gradcheck(lambda s: maths.cross_entropy(s, labels), logits.requires_grad_())


SIGMA = 1e-4
DRAWS = 4000
STANDARD_ERRORS = 4  # the tolerance, in the estimate's own error bars
MAX_ERROR = 0.02  # and a bound on these, relative: a wrong factor cannot hide in them


def noisy(x: Tensor) -> tuple[Tensor, Tensor]:
    """Each image under DRAWS noises and their mirror images: where the map is linear, ±xi cancel the odd terms."""
    xi = SIGMA * torch.randn(DRAWS, *IMAGE, generator=generator(2), dtype=torch.float64)
    return (x[None] + xi[:, None]).flatten(0, 1), (x[None] - xi[:, None]).flatten(0, 1)


def second_order(clean: Tensor, plus: Tensor, minus: Tensor) -> tuple[float, float]:
    """Of losses B clean and (DRAWS·B) noisy: the mean rise over sigma², and its standard error."""
    rise = ((plus + minus) / 2).view(DRAWS, -1) - clean
    each = rise.mean(1) / SIGMA**2
    return each.mean().item(), each.std().item() / DRAWS**0.5


def test_proposition_1_by_monte_carlo() -> None:
    """E sum_i (T_i − S_i)² under noise rises by sigma² sum_i ‖∇T_i − ∇S_i‖²: to four standard errors of under 2 %."""
    student, teacher = piecewise_linear(3), piecewise_linear(4)
    x = images(3, 5).requires_grad_()
    jacobians = [maths.full_jacobian(network(x), x, create_graph=False) for network in (student, teacher)]
    predicted = maths.squared_distance(jacobians[0], jacobians[1]).item()

    def losses(inputs: Tensor) -> Tensor:
        return (student(inputs) - teacher(inputs)).square().sum(1)

    with torch.no_grad():
        clean = losses(x)
        assert_close(maths.squared_error(student(x), teacher(x)), clean.mean())
        estimate, error = second_order(clean, *(losses(inputs) for inputs in noisy(x)))
    assert error < MAX_ERROR * predicted
    assert abs(estimate - predicted) < STANDARD_ERRORS * error


def test_proposition_2_by_monte_carlo() -> None:
    """E sum_i (y_i − S_i)² under noise rises by sigma² sum_i ‖∇S_i‖²: to four standard errors of under 2 %."""
    student = piecewise_linear(6)
    x = images(3, 7).requires_grad_()
    target = torch.nn.functional.one_hot(torch.tensor([0, 2, 1]), CLASSES).double()
    predicted = maths.squared_norm(maths.full_jacobian(student(x), x, create_graph=False)).item()

    def losses(inputs: Tensor) -> Tensor:
        return (student(inputs) - target.repeat(len(inputs) // 3, 1)).square().sum(1)

    with torch.no_grad():
        clean = losses(x)
        assert_close(maths.squared_error(student(x), target), clean.mean())
        estimate, error = second_order(clean, *(losses(inputs) for inputs in noisy(x)))
    assert error < MAX_ERROR * predicted
    assert abs(estimate - predicted) < STANDARD_ERRORS * error


@pytest.mark.parametrize("shape", [(25, 64), (25, 1, 16), (7, 3)])
def test_normalised_has_the_bits_of_its_plain_twin(shape: tuple[int, ...]) -> None:
    """Values and gradients, dead rows among them; and derivatives of any order."""
    values = torch.randn(shape, generator=generator(0)) * torch.logspace(-3, 3, shape[0]).view(
        -1, *[1] * len(shape[1:])
    )
    values[0] = 0
    found = []
    for take in (maths.normalised, losses.plainly_normalised):
        x = values.clone().requires_grad_()
        result = take(x)
        torch.linalg.vector_norm((result - 0.1).flatten(1), dim=1).mean().backward()
        found.append((result.detach(), x.grad))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])
    exact = torch.randn(3, 5, dtype=torch.double, generator=generator(1), requires_grad=True)
    assert torch.autograd.gradcheck(maths.normalised, (exact,))
    assert torch.autograd.gradgradcheck(maths.normalised, (exact,))
