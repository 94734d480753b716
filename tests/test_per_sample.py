"""Jacobians through batch norm with statistics that are constant in the inputs and not in the weights."""

from __future__ import annotations

import pytest
import torch
from small_networks import draw, images, normed
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.testing import assert_close

from jkbench.models.batchnorm import batch_norm_statistics, recorded_inputs, statistics_of


def penalty(network: nn.Module, x: Tensor, way: str, create_graph: bool = True) -> Tensor:
    """Mean over the batch of ‖∇ sum of logits‖², by the Jacobian pass of ``way``."""
    leaf = x.clone().requires_grad_()
    if way == "per-sample":
        with recorded_inputs(network) as inputs:
            network(x)
        with statistics_of(network, inputs):
            outputs = network(leaf)
    else:
        with batch_norm_statistics(network, "constant"):
            outputs = network(leaf)
    (gradient,) = torch.autograd.grad(outputs.sum(), leaf, create_graph=create_graph)
    return gradient.flatten(1).square().sum(1).mean()


def weight_before_norm(network: nn.Module) -> nn.Parameter:
    for module, following in zip(list(network), list(network)[1:], strict=False):  # type: ignore[call-overload]
        if isinstance(following, nn.modules.batchnorm._BatchNorm):
            return module.weight
    raise AssertionError("no weight before a batch norm")


def test_values_are_those_of_train_mode_and_the_jacobian_is_per_sample() -> None:
    network, x = normed(1).train(), images(5, 2)
    with torch.no_grad():
        expected = network(x)
    with recorded_inputs(network) as inputs:
        network(x)
    with statistics_of(network, inputs):
        assert_close(network(x), expected)
    assert_close(penalty(network, x, "per-sample"), penalty(network, x, "constant"))


def test_the_gradient_by_the_weights_is_whole() -> None:
    """Finite differences of the penalty, statistics moving with the weights as they do in training."""
    network, x = normed(3).train(), images(5, 4)
    weight = weight_before_norm(network)
    gradient = torch.autograd.grad(penalty(network, x, "per-sample"), weight)[0].flatten()
    detached = torch.autograd.grad(penalty(network, x, "constant"), weight)[0].flatten()
    flat = weight.data.flatten()
    for at in range(0, len(flat), max(1, len(flat) // 6)):
        there = []
        for step in (1e-6, -1e-6):
            flat[at] += step
            there.append(float(penalty(network, x, "constant", create_graph=False)))  # the same value, see above
            flat[at] -= step
        difference = (there[0] - there[1]) / 2e-6
        assert gradient[at].item() == pytest.approx(difference, rel=1e-4, abs=1e-7)
    assert not torch.allclose(gradient, detached, rtol=1e-2)


def test_a_rescaling_of_the_weights_before_a_batch_norm_costs_nothing() -> None:
    """Trap: with statistics as constants of the weights too, the term pulls on a length that the network ignores."""
    network, x = normed(5).train(), images(6, 6)
    weight = weight_before_norm(network)
    radial = {}
    for way in ("per-sample", "constant"):
        gradient = torch.autograd.grad(penalty(network, x, way), weight)[0]
        radial[way] = float((gradient * weight.data).sum() / (gradient.norm() * weight.data.norm()))
    assert abs(radial["per-sample"]) < 1e-3
    assert abs(radial["constant"]) > 0.1


def test_the_network_is_left_as_it_was_found() -> None:
    network, x = normed(7).train(), images(4, 8)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    network.eval()
    with recorded_inputs(network) as inputs:
        network(x)
    with pytest.raises(RuntimeError, match="shape"), statistics_of(network, inputs):
        network(x[:, :, :1])  # fails after the batch norm
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert not any(module.training for module in network.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


def test_timms_norm_with_activation() -> None:
    norm = draw(BatchNormAct2d(3), 9).double().train()
    x = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with recorded_inputs(norm) as inputs:
        expected = norm(x)
    with statistics_of(norm, inputs):
        assert_close(norm(x), expected)
    assert norm.training
