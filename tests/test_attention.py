"""Attention maps, their distance, and their gradient at the teacher's peak."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import generator, images, smooth
from torch.testing import assert_close

from jkbench import maths


def test_attention_map_by_pencil() -> None:
    # two channels, one row of two pixels: (1² + 3², (−2)² + 0.5²)
    features = torch.tensor([[[[1.0, -2.0]], [[3.0, 0.5]]]])
    assert maths.attention_map(features).tolist() == [[[10.0, 4.25]]]


@settings(deadline=None, max_examples=20, derandomize=True)
@given(batch=st.integers(1, 3), channels=st.integers(1, 4), height=st.integers(1, 4), width=st.integers(1, 4))
def test_attention_map_sums_over_channels_only(batch: int, channels: int, height: int, width: int) -> None:
    features = torch.randn(batch, channels, height, width, generator=generator(1), dtype=torch.float64)
    found = maths.attention_map(features)
    assert found.shape == (batch, height, width)
    assert_close(found, torch.einsum("bchw,bchw->bhw", features, features))


def test_attention_loss_by_pencil() -> None:
    # (3, 4)/5 against (0, 1): ‖(0.6, −0.2)‖ = sqrt 0.4; the second sample's maps agree up to scale: 0. Mean of the two.
    student = torch.tensor([[[3.0, 4.0]], [[2.0, 2.0]]], dtype=torch.float64)
    teacher = torch.tensor([[[0.0, 7.0]], [[9.0, 9.0]]], dtype=torch.float64)
    assert maths.attention_loss(student, teacher).item() == pytest.approx(0.4**0.5 / 2, abs=1e-12)


def test_attention_loss_of_disjoint_maps_is_the_square_root_of_two() -> None:
    """Flattened over the whole map: normalising rows of a map separately would give another number."""
    student = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    teacher = torch.tensor([[[0.0, 0.0], [0.0, 5.0]]])
    assert maths.attention_loss(student, teacher).item() == pytest.approx(2**0.5)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(scale=st.floats(1e-3, 1e3), other=st.floats(1e-3, 1e3))
def test_attention_loss_does_not_depend_on_either_scale(scale: float, other: float) -> None:
    stream = generator(2)
    student, teacher = (torch.rand(2, 3, 3, generator=stream, dtype=torch.float64) for _ in range(2))
    expected = maths.attention_loss(student, teacher)
    assert expected > 0.1
    assert_close(maths.attention_loss(scale * student, other * teacher), expected)


def test_attention_loss_normalises_each_sample_by_itself() -> None:
    stream = generator(3)
    student, teacher = (torch.rand(2, 3, 3, generator=stream, dtype=torch.float64) for _ in range(2))
    expected = maths.attention_loss(student, teacher)
    scaled = student * torch.tensor([1.0, 50.0])[:, None, None]
    assert_close(maths.attention_loss(scaled, teacher), expected)
    alone = torch.stack([maths.attention_loss(student[i : i + 1], teacher[i : i + 1]) for i in range(2)])
    assert_close(expected, alone.mean())


def test_attention_loss_gradient_equals_finite_differences() -> None:
    stream = generator(4)
    student, teacher = (torch.rand(2, 2, 3, generator=stream, dtype=torch.float64) for _ in range(2))
    assert torch.autograd.gradcheck(lambda s: maths.attention_loss(s, teacher), student.requires_grad_())


def test_attention_loss_of_a_dead_map_has_finite_value_and_gradient() -> None:
    student = torch.zeros(1, 2, 2, requires_grad=True)
    loss = maths.attention_loss(student, torch.ones(1, 2, 2))
    assert loss.item() == pytest.approx(1.0)
    loss.backward()
    assert student.grad is not None
    assert torch.equal(student.grad, torch.zeros(1, 2, 2))


def test_attention_loss_of_equal_maps_is_zero_with_finite_gradient() -> None:
    student = torch.rand(1, 2, 2, generator=generator(5)).requires_grad_()
    loss = maths.attention_loss(student, student.detach().clone())
    loss.backward()
    assert loss.item() == 0
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


def test_maps_of_unequal_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 2, 2\) and \(1, 4, 1\)"):
        maths.attention_loss(torch.ones(1, 2, 2), torch.ones(1, 4, 1))


def test_peak_and_value_there_by_pencil() -> None:
    teacher = torch.tensor([[[1.0, 2.0, 3.0], [9.0, 5.0, 6.0]], [[0.0, 8.0, 1.0], [2.0, 3.0, 4.0]]])
    pixel = maths.attention_peak(teacher)
    assert pixel.tolist() == [3, 1]  # (1, 0) and (0, 1) of 2×3 maps
    student = torch.arange(12.0).view(2, 2, 3)
    assert maths.attention_at(student, pixel).tolist() == [3.0, 7.0]
    assert maths.attention_at(teacher, pixel).tolist() == [9.0, 8.0]


def test_attention_jacobian_equals_autograd_functional_jacobian() -> None:
    """The gradient of A at the teacher's peak by the student's input, per sample."""
    student, teacher = smooth(6)[:2], smooth(7)[:2]
    x = images(3, 8).requires_grad_()
    pixel = maths.attention_peak(maths.attention_map(teacher(x)))
    own = maths.attention_peak(maths.attention_map(student(x)))
    assert not torch.equal(pixel, own)  # else the student's own peak would pass as the teacher's
    value = maths.attention_at(maths.attention_map(student(x)), pixel)
    found = maths.input_gradient(value, x, create_graph=False)

    for sample in range(3):
        row, column = divmod(int(pixel[sample]), 4)

        def attention(image: torch.Tensor, row: int = row, column: int = column) -> torch.Tensor:
            return student(image[None])[0, :, row, column].pow(2).sum()

        reference = torch.autograd.functional.jacobian(attention, x[sample].detach())
        assert_close(found[sample], reference.flatten())
