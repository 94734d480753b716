"""One test for each trap seen in other people's code of Jacobian matching: the wrong way differs, ours is right.

The list is section 3 of the design. A teacher left in train mode is a trap of the engine and is tested there.
"""

from __future__ import annotations

import pytest
import torch
from small_networks import (
    CLASSES,
    PIXELS,
    affine,
    difference_jacobian,
    generator,
    images,
    normed,
    piecewise_linear,
    reference_jacobian,
    smooth,
)
from torch import Tensor, nn
from torch.testing import assert_close

from jkbench import maths
from jkbench.models.batchnorm import Statistics, batch_norm_statistics

LABELS = torch.tensor([0, 2, 1])


def jacobian_term(student: nn.Sequential, x: Tensor, target: Tensor, create_graph: bool) -> Tensor:
    x = x.detach().requires_grad_()
    rows = maths.jacobian_rows(student(x), x, maths.correct_rows(LABELS), create_graph)
    return maths.squared_distance(rows, target)


def teacher_rows(teacher: nn.Module, x: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    return maths.jacobian_rows(teacher(x), x, maths.correct_rows(LABELS), create_graph=False)


@pytest.mark.parametrize("student", [smooth(1), piecewise_linear(2)], ids=["smooth", "piecewise linear"])
def test_jacobian_term_trains_the_student(student: nn.Sequential) -> None:
    """Its gradient by every entry of a weight equals central differences and is not zero."""
    x = images(3, 3)
    target = teacher_rows(smooth(4), x)
    weight = next(student.parameters())
    (gradient,) = torch.autograd.grad(jacobian_term(student, x, target, create_graph=True), weight)
    step = 1e-6
    for entry in range(weight.numel()):
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                weight.view(-1)[entry] += sign * step
            values.append(jacobian_term(student, x, target, create_graph=False).item())
            with torch.no_grad():
                weight.view(-1)[entry] -= sign * step
        slope = (values[0] - values[1]) / (2 * step)
        assert gradient.view(-1)[entry].item() == pytest.approx(slope, rel=1e-5, abs=1e-7)
    assert gradient.abs().max() > 1e-2


def test_jacobian_term_without_create_graph_would_not_train() -> None:
    x = images(3, 5)
    term = jacobian_term(smooth(6), x, teacher_rows(smooth(7), x), create_graph=False)
    assert not term.requires_grad


def test_teachers_jacobian_keeps_no_graph() -> None:
    """Nothing is saved for a second backward pass, though the teacher's weights require grad."""
    saved: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        saved.append(tensor.numel())
        return tensor

    def rows(create_graph: bool) -> tuple[Tensor, int]:
        x = images(3, 8).requires_grad_()
        logits = smooth(9)(x)
        saved.clear()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            found = maths.jacobian_rows(logits, x, maths.correct_rows(LABELS), create_graph)
        return found, sum(saved)

    wasteful, cost = rows(create_graph=True)
    assert wasteful.requires_grad
    lean, kept = rows(create_graph=False)
    assert not lean.requires_grad
    assert lean.grad_fn is None
    # picking entries of the logits is still part of the forward pass: it may keep them and the index
    assert kept <= LABELS.numel() * (CLASSES + 1)
    assert cost > 10 * kept  # what the trap costs


def test_batch_of_labels_picks_one_row_a_sample() -> None:
    network = smooth(10)
    x = images(3, 11).requires_grad_()
    logits = network(x)
    grad_output = torch.zeros_like(logits)
    grad_output[:, LABELS] = 1  # every sample gets every label in the batch
    (wrong,) = torch.autograd.grad(logits, x, grad_output, retain_graph=True)
    ours = maths.jacobian_rows(logits, x, maths.correct_rows(LABELS), create_graph=False)[:, 0]
    reference = reference_jacobian(network, x.detach())
    assert_close(ours, reference[torch.arange(3), LABELS])
    assert_close(wrong.flatten(1), reference.sum(1))
    assert ((wrong.flatten(1) - ours).norm(dim=1) > 0.1).all()


def test_student_is_asked_for_the_teachers_largest_output() -> None:
    student, teacher = smooth(12), smooth(13)
    x = images(6, 14).requires_grad_()
    s, t = student(x), teacher(x)
    rows = maths.largest_rows(t)
    assert torch.equal(rows[:, 0], t.argmax(1))
    assert not rows.requires_grad
    differ = s.argmax(1) != t.argmax(1)
    assert differ.any()  # else the trap could not show
    ours = maths.jacobian_rows(s, x, rows, create_graph=False)[:, 0]
    own = maths.jacobian_rows(s, x, maths.largest_rows(s), create_graph=False)[:, 0]
    reference = reference_jacobian(student, x.detach())
    assert_close(ours, reference[torch.arange(6), t.argmax(1)])
    assert ((ours - own).norm(dim=1)[differ] > 0.1).all()


@pytest.mark.parametrize("rows", [1, 4])
def test_pixels_are_summed_not_averaged(rows: int) -> None:
    """`mse_loss` averages over R·D values: too small by that factor, 3072 for one row of a CIFAR image."""
    stream = generator(15)
    pixels = 3072
    student, teacher = (torch.randn(2, rows, pixels, generator=stream, dtype=torch.float64) for _ in range(2))
    mean = torch.nn.functional.mse_loss(student, teacher)
    assert_close(maths.squared_distance(student, teacher), rows * pixels * mean)
    assert_close(maths.squared_norm(student), rows * pixels * student.square().mean())
    assert_close(maths.squared_error(student[:, 0], teacher[:, 0]), pixels * (student - teacher)[:, 0].square().mean())


def test_gradient_is_by_the_inputs_not_by_the_parameters() -> None:
    network = smooth(16)
    x = images(3, 17).requires_grad_()
    found = maths.jacobian_rows(network(x), x, maths.correct_rows(LABELS), create_graph=True)
    assert found.shape == (3, 1, PIXELS)
    assert sum(parameter.numel() for parameter in network.parameters()) != PIXELS
    assert_close(
        found[:, 0].detach(), difference_jacobian(network, x.detach())[torch.arange(3), LABELS], rtol=1e-6, atol=1e-8
    )
    assert x.grad is None
    assert all(parameter.grad is None for parameter in network.parameters())


def frozen(network: nn.Sequential, mean: Tensor, variance: Tensor) -> nn.Module:
    """The same network with its batch norm written out as a fixed affine map, one image at a time."""
    convolution, norm, *rest = network

    class Affine(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return affine(norm, z, mean, variance)

    return nn.Sequential(convolution, Affine(), *rest)


def summed_gradient(network: nn.Module, x: Tensor, mode: Statistics) -> Tensor:
    x = x.detach().requires_grad_()
    with batch_norm_statistics(network, mode):
        logits = network(x)
    return maths.full_jacobian(logits, x, create_graph=False)


@pytest.mark.parametrize("mode", ["running", "constant"])
def test_batch_norm_gives_per_sample_jacobians_when_asked(mode: Statistics) -> None:
    """Equal to the frozen affine network's Jacobian on one image at a time."""
    network = normed(18)
    x = images(3, 19)
    if mode == "running":
        mean, variance, _ = network[1].buffers()
    else:
        z = network[0](x).detach().transpose(0, 1).flatten(1)
        mean = z.sum(1) / z.shape[1]
        variance = (z - mean[:, None]).square().sum(1) / z.shape[1]
    expected = reference_jacobian(frozen(network, mean, variance), x)
    assert expected.norm() > 0.1
    assert_close(summed_gradient(network, x, mode), expected)


def test_batch_norm_in_train_mode_couples_the_samples() -> None:
    """The gradient of summed logits is the column sum of the whole batch's Jacobian, not a sample's own block of it."""
    network = normed(20)
    x = images(3, 21)
    coupled = summed_gradient(network, x, "batch")

    def logits(inputs: Tensor) -> Tensor:
        with batch_norm_statistics(network, "batch"):
            return network(inputs)

    whole = torch.autograd.functional.jacobian(logits, x).view(3, CLASSES, 3, PIXELS)
    assert_close(coupled, whole.sum(0).transpose(0, 1))
    own = torch.stack([whole[b, :, b] for b in range(3)])
    assert (coupled - own).norm() > 0.05 * own.norm()
    assert (coupled - summed_gradient(network, x, "constant")).norm() > 0.05 * own.norm()


@pytest.mark.parametrize("mode", ["running", "constant"])
def test_another_image_in_the_batch_has_no_influence_through_the_graph(mode: Statistics) -> None:
    network = normed(22)
    x = images(2, 23).requires_grad_()
    with batch_norm_statistics(network, mode):
        logits = network(x)
    (gradient,) = torch.autograd.grad(logits[0].sum(), x, retain_graph=True)
    assert gradient[0].abs().max() > 1e-3
    assert gradient[1].abs().max() == 0
    with batch_norm_statistics(network, "batch"):
        logits = network(x)
    (gradient,) = torch.autograd.grad(logits[0].sum(), x)
    assert gradient[1].abs().max() > 1e-3


def test_dead_unit_has_direction_zero_and_finite_gradients() -> None:
    """A unit that is off for one image: its Jacobian is exactly zero there, and must not poison the others."""
    weight = torch.tensor([[1.0, 2.0], [-1.0, 1.0]], requires_grad=True)
    x = torch.tensor([[-3.0, -1.0], [2.0, 1.0]], requires_grad=True)  # unit 0 is off for image 0 and on for image 1
    outputs = (x @ weight.T).relu()
    jacobian = maths.jacobian_rows(outputs, x, torch.tensor([[0], [0]]), create_graph=True)
    assert jacobian[0].abs().max() == 0
    unit = maths.normalised(jacobian)
    assert unit[0].tolist() == [[0.0, 0.0]]
    assert unit[1].norm().item() == pytest.approx(1.0)
    teacher = torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]]])
    for loss in (maths.squared_distance(unit, teacher), maths.distance(unit, teacher)):
        (gradient,) = torch.autograd.grad(loss, weight, retain_graph=True)
        assert torch.isfinite(gradient).all()
        assert gradient.abs().max() > 0  # the live image still trains


def test_dead_unit_is_harmless_where_both_networks_have_it() -> None:
    student = torch.zeros(1, 1, 4, requires_grad=True)
    loss = maths.distance(maths.normalised(student), maths.normalised(torch.zeros(1, 1, 4)))
    loss.backward()
    assert loss.item() == 0
    assert student.grad is not None
    assert torch.equal(student.grad, torch.zeros(1, 1, 4))


def test_dead_unit_has_finite_second_derivatives() -> None:
    """Normalised values differentiated twice, as when an attention loss is itself differentiated by the input."""
    values = torch.tensor([[0.0, 0.0], [3.0, 4.0]], dtype=torch.float64, requires_grad=True)
    unit = maths.normalised(values)
    (first,) = torch.autograd.grad((unit * torch.tensor([1.0, 2.0])).sum(), values, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum() + unit.sum(), values)
    assert first[0].tolist() == [0.0, 0.0]
    assert second[0].tolist() == [0.0, 0.0]
    assert torch.isfinite(second).all()
    assert second[1].abs().max() > 0
