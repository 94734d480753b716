"""Jacobians of outputs by inputs, against torch.autograd.functional.jacobian, finite differences and pencil."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import (
    CLASSES,
    PIXELS,
    difference_jacobian,
    generator,
    images,
    piecewise_linear,
    reference_jacobian,
    smooth,
)
from torch.testing import assert_close

from jkbench import maths

ROWS = torch.tensor([[2, 0], [1, 1], [0, 2], [1, 0]])


def test_input_gradient_of_a_value_by_pencil() -> None:
    # f(x) = x0² x1: ∇f = (2 x0 x1, x0²)
    x = torch.tensor([[3.0, 2.0], [-1.0, 5.0]], requires_grad=True)
    gradient = maths.input_gradient(x[:, 0] ** 2 * x[:, 1], x, create_graph=False)
    assert gradient.tolist() == [[12.0, 9.0], [-10.0, 1.0]]


def test_jacobian_rows_by_pencil() -> None:
    # outputs (x0², x0 x1): J = [[2 x0, 0], [x1, x0]]
    x = torch.tensor([[3.0, 2.0], [4.0, -1.0]], requires_grad=True)
    outputs = torch.stack([x[:, 0] ** 2, x[:, 0] * x[:, 1]], dim=1)
    rows = maths.jacobian_rows(outputs, x, torch.tensor([[1], [0]]), create_graph=False)
    assert rows.tolist() == [[[2.0, 3.0]], [[8.0, 0.0]]]
    full = maths.full_jacobian(outputs, x, create_graph=False)
    assert full.tolist() == [[[6.0, 0.0], [2.0, 3.0]], [[8.0, 0.0], [-1.0, 4.0]]]


@pytest.mark.parametrize("network", [smooth(1), piecewise_linear(2)], ids=["smooth", "piecewise linear"])
def test_row_equals_autograd_functional_jacobian(network: torch.nn.Module) -> None:
    x = images(4, 3).requires_grad_()
    rows = maths.jacobian_rows(network(x), x, ROWS, create_graph=False)
    reference = reference_jacobian(network, x.detach())
    assert rows.shape == (4, 2, PIXELS)
    for sample in range(4):
        for r in range(2):
            assert_close(rows[sample, r], reference[sample, ROWS[sample, r]], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("create_graph", [False, True])
def test_full_jacobian_equals_autograd_functional_jacobian(create_graph: bool) -> None:
    network = smooth(4)
    x = images(3, 5).requires_grad_()
    full = maths.full_jacobian(network(x), x, create_graph)
    assert full.shape == (3, CLASSES, PIXELS)
    assert_close(full.detach(), reference_jacobian(network, x.detach()), rtol=1e-12, atol=1e-12)
    assert full.requires_grad is create_graph


def test_full_jacobian_equals_finite_differences() -> None:
    network = smooth(6)
    x = images(3, 7).requires_grad_()
    full = maths.full_jacobian(network(x), x, create_graph=False)
    assert_close(full, difference_jacobian(network, x.detach()), rtol=1e-6, atol=1e-8)


@settings(deadline=None, max_examples=20, derandomize=True)
@given(batch=st.integers(1, 4), shape=st.lists(st.integers(1, 3), min_size=1, max_size=3), data=st.data())
def test_shapes_and_values_of_rows_of_a_linear_map(batch: int, shape: list[int], data: st.DataObject) -> None:
    """For outputs W x every sample's Jacobian is W, whatever the shape of x."""
    classes = data.draw(st.integers(1, 4))
    count = data.draw(st.integers(1, classes))
    stream = generator(batch)
    x = torch.randn(batch, *shape, generator=stream, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(classes, x[0].numel(), generator=stream, dtype=torch.float64)
    outputs = x.flatten(1) @ weight.T
    rows = torch.randint(classes, (batch, count), generator=stream)
    found = maths.jacobian_rows(outputs, x, rows, create_graph=False)
    assert found.shape == (batch, count, weight.shape[1])
    assert_close(found, weight[rows])


def test_value_that_does_not_depend_on_the_input_has_gradient_zero() -> None:
    x = images(2, 8).requires_grad_()
    zero = torch.zeros(2, PIXELS, dtype=torch.float64)
    assert torch.equal(maths.input_gradient(torch.ones(2), x, create_graph=True), zero)
    bias = torch.ones(2, dtype=torch.float64, requires_grad=True)
    assert torch.equal(maths.input_gradient(bias * 2, x, create_graph=False), zero)


def test_input_without_grad_is_refused() -> None:
    x = images(2, 9)
    with pytest.raises(RuntimeError, match="requires_grad_"):
        maths.input_gradient(smooth(1)(x)[:, 0], x, create_graph=False)


def test_several_jacobians_of_one_forward_pass() -> None:
    """The graph outlives each question: the same rows twice, and the loss's own backward pass after them."""
    network = smooth(10)
    x = images(2, 11).requires_grad_()
    outputs = network(x)
    first = maths.jacobian_rows(outputs, x, ROWS[:2], create_graph=False)
    assert torch.equal(first, maths.jacobian_rows(outputs, x, ROWS[:2], create_graph=False))
    outputs.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_correct_rows_by_pencil() -> None:
    assert maths.correct_rows(torch.tensor([4, 0, 2])).tolist() == [[4], [0], [2]]


def test_largest_and_top_rows_by_pencil() -> None:
    logits = torch.tensor([[0.1, 3.0, 2.0], [5.0, -1.0, 6.0]])
    assert maths.largest_rows(logits).tolist() == [[1], [2]]
    assert maths.top_rows(logits, 2).tolist() == [[1, 2], [2, 0]]
    assert maths.top_rows(logits, 99).tolist() == [[1, 2, 0], [2, 0, 1]]


@settings(deadline=None, max_examples=25, derandomize=True)
@given(logits=st.lists(st.permutations(list(range(5))), min_size=1, max_size=4), count=st.integers(1, 7))
def test_top_rows_are_the_sorted_order(logits: list[list[int]], count: int) -> None:
    rows = maths.top_rows(torch.tensor(logits, dtype=torch.float32), count)
    assert rows.tolist() == [sorted(range(5), key=lambda i: -row[i])[:count] for row in logits]
    assert torch.equal(rows[:, :1], maths.largest_rows(torch.tensor(logits, dtype=torch.float32)))


def test_random_directions_have_unit_length_and_come_from_the_generator() -> None:
    before = torch.random.get_rng_state()
    v = maths.random_directions(50, 7, generator(12))
    assert v.shape == (50, 7)
    assert_close(v.norm(dim=1), torch.ones(50))
    assert torch.equal(v, maths.random_directions(50, 7, generator(12)))
    assert not torch.equal(v, maths.random_directions(50, 7, generator(13)))
    assert torch.equal(before, torch.random.get_rng_state())


def test_random_directions_have_second_moment_identity_over_dimension() -> None:
    """E[v vᵀ] = I/k, and E[v] = 0: each entry within five standard errors of its own sample."""
    count, k = 20_000, 4
    v = maths.random_directions(count, k, generator(14)).double()
    products = v[:, :, None] * v[:, None, :]
    error = products.std(0) / count**0.5
    assert error.max() < 0.01 / k  # the test can tell 1/k from any other law
    assert ((products.mean(0) - torch.eye(k) / k).abs() < 5 * error).all()
    assert (v.mean(0).abs() < 5 * v.std(0) / count**0.5).all()


def test_projections_on_a_basis_average_to_the_full_match() -> None:
    """Exact: (1/k) sum_j k ‖∇⟨e_j, T − S⟩‖² is the full match."""
    student, teacher = smooth(15), piecewise_linear(16)
    x = images(3, 17).requires_grad_()
    s, t = student(x), teacher(x)
    full = maths.squared_distance(maths.full_jacobian(s, x, False), maths.full_jacobian(t, x, False))
    estimates = [
        CLASSES
        * maths.squared_distance(
            maths.input_gradient((s * v).sum(1), x, False), maths.input_gradient((t * v).sum(1), x, False)
        )
        for v in torch.eye(CLASSES, dtype=torch.float64)
    ]
    assert_close(torch.stack(estimates).mean(), full)


def test_random_projection_estimates_the_full_match_without_bias() -> None:
    """The mean over 4000 directions is within four standard errors of the full match; the error is under 2 %."""
    count = 4000
    student, teacher = smooth(18), smooth(19)
    x = images(1, 20).requires_grad_()
    full = maths.squared_distance(
        maths.full_jacobian(student(x), x, False), maths.full_jacobian(teacher(x), x, False)
    ).item()
    copies = x.detach().expand(count, -1, -1, -1).clone().requires_grad_()
    v = maths.random_directions(count, CLASSES, generator(21))
    s = maths.input_gradient((student(copies) * v).sum(1), copies, create_graph=False)
    t = maths.input_gradient((teacher(copies) * v).sum(1), copies, create_graph=False)
    each = CLASSES * (s - t).square().sum(1)
    error = each.std().item() / count**0.5
    estimate = CLASSES * maths.squared_distance(s, t).item()
    assert error < 0.02 * full
    assert abs(estimate - full) < 4 * error


def test_projection_is_the_projected_jacobian() -> None:
    """∇⟨v, T⟩ = vᵀ J, one direction a sample."""
    network = smooth(22)
    x = images(3, 23).requires_grad_()
    v = maths.random_directions(3, CLASSES, generator(24)).double()
    projected = maths.input_gradient((network(x) * v).sum(1), x, create_graph=False)
    assert_close(projected, torch.einsum("bk,bkd->bd", v, reference_jacobian(network, x.detach())))
