"""Distances between the distributions of logits: by pencil, by numpy, by their invariances and limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from small_networks import generator
from torch import Tensor
from torch.testing import assert_close

from jkbench import maths

LABELS = torch.tensor([0, 2, 1, 3])


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape or (4, 5), generator=generator(seed), dtype=torch.float64)


def test_kl_divergence_by_pencil() -> None:
    # p_T = (3/4, 1/4), p_S = (1/2, 1/2): ¾ log(3/2) + ¼ log(1/2); the second image is matched: the mean halves it
    student, teacher = torch.zeros(2, 2, dtype=torch.float64), torch.tensor([[math.log(3.0), 0], [0, 0]]).double()
    expected = (0.75 * math.log(1.5) + 0.25 * math.log(0.5)) / 2
    assert maths.kl_divergence(student, teacher).item() == pytest.approx(expected, rel=1e-6)
    assert maths.kl_divergence(2 * student, 2 * teacher, 2.0).item() == pytest.approx(expected, rel=1e-6)


def test_kl_divergence_is_not_averaged_over_classes() -> None:
    student, teacher = drawn(1), drawn(2)
    p, q = ((z / 4).softmax(1) for z in (teacher, student))
    assert_close(maths.kl_divergence(student, teacher, 4.0), (p * (p / q).log()).sum() / 4)


def test_at_a_high_temperature_kl_is_the_centred_squared_error() -> None:
    student, teacher = drawn(3), drawn(4)
    centred = [z - z.mean(1, keepdim=True) for z in (student, teacher)]
    limit = maths.squared_error(*centred) / (2 * 5)
    assert_close(1e4**2 * maths.kl_divergence(student, teacher, 1e4), limit, rtol=1e-3, atol=0)


def test_kl_divergence_decouples() -> None:
    """KL(p_T ‖ p_S) = KL(b_T ‖ b_S) + (1 − p_T,y) KL(p̂_T ‖ p̂_S), image by image."""
    student, teacher = drawn(5), drawn(6)
    for image in range(4):
        one = slice(image, image + 1)
        mine, theirs = (maths.decoupled(z[one], LABELS[one]) for z in (student, teacher))
        assert mine[0].shape == (1, 2)
        assert mine[1].shape == (1, 4)
        rest = 1 - teacher[one].softmax(1)[0, LABELS[image]]
        parts = maths.kl_divergence(mine[0], theirs[0]) + rest * maths.kl_divergence(mine[1], theirs[1])
        assert_close(parts, maths.kl_divergence(student[one], teacher[one]))


def test_decoupled_drops_the_label_and_does_not_underflow() -> None:
    logits = torch.tensor([[2000.0, 0, 1], [0, 1, 2000]], requires_grad=True)
    against, others = maths.decoupled(logits, torch.tensor([0, 1]))
    assert others.tolist() == [[0, 1], [0, 2000]]
    maths.kl_divergence(against, torch.zeros(2, 2)).backward()
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())
    assert against.isfinite().all()


def test_standardised_does_not_see_an_affine_map() -> None:
    z = drawn(7)
    found, rows = maths.standardised(z), z.numpy()
    expected = (rows - rows.mean(1, keepdims=True)) / rows.std(1, ddof=1, keepdims=True)
    assert_close(found, torch.from_numpy(expected), rtol=1e-6, atol=1e-6)
    assert_close(maths.standardised(3 * z - 7), found, rtol=1e-6, atol=1e-6)


def test_correlation_is_that_of_numpy() -> None:
    mine, theirs = drawn(8), drawn(9)
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(mine.numpy(), theirs.numpy(), strict=True)]
    assert_close(maths.correlation(mine, theirs), torch.tensor(expected), rtol=1e-6, atol=0)
    scale = torch.tensor([[1.0], [20.0], [3.0], [0.5]])
    assert_close(maths.correlation(scale * mine + 2, theirs), torch.tensor(expected), rtol=1e-6, atol=0)


@pytest.mark.parametrize("loss", [
    lambda z: maths.standardised(z).square().sum(),
    lambda z: maths.correlation(z, drawn(1).float()).sum(),
    lambda z: maths.correlation(z.softmax(1).T, drawn(1).float().T).sum(),
    lambda z: maths.kl_divergence(z, 1e4 * drawn(1).float()),
])  # fmt: skip
def test_equal_logits_have_finite_gradients(loss: object) -> None:
    for value in (0.0, 1e4):
        z = torch.full((4, 5), value, requires_grad=True)
        loss(z).backward()  # type: ignore[operator]
        assert z.grad is not None
        assert bool(z.grad.isfinite().all())


def test_gradients_equal_finite_differences() -> None:
    z, other = drawn(10).requires_grad_(), drawn(11)
    assert torch.autograd.gradcheck(lambda z: maths.kl_divergence(z, other, 2.0), z)
    assert torch.autograd.gradcheck(maths.standardised, z)
    assert torch.autograd.gradcheck(lambda z: maths.correlation(z, other), z)
    assert torch.autograd.gradcheck(lambda z: maths.decoupled(z, LABELS, 2.0), z)
