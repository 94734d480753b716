"""Three ways for batch norm to take its statistics, and that a network is left as it was found."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from small_networks import affine, draw, generator, images, normed, reference_jacobian
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.testing import assert_close

from jkbench import maths
from jkbench.errors import UserError
from jkbench.models.batchnorm import Statistics, batch_norm_statistics

MODES: tuple[Statistics, ...] = get_args(Statistics)
KINDS = [
    (nn.BatchNorm1d, (5, 3)),
    (nn.BatchNorm1d, (5, 3, 4)),
    (nn.BatchNorm2d, (5, 3, 2, 4)),
    (nn.BatchNorm3d, (2, 3, 2, 2, 2)),
    (BatchNormAct2d, (5, 3, 2, 4)),
]


def one_norm(kind: type[_BatchNorm], seed: int = 1) -> _BatchNorm:
    norm = draw(kind(3), seed)
    assert isinstance(norm, _BatchNorm)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.copy_(torch.tensor([0.5, -0.25, 2.0]))
    norm.running_var.copy_(torch.tensor([0.5, 4.0, 1.5]))
    return norm


def values(shape: tuple[int, ...]) -> Tensor:
    return torch.randn(*shape, generator=generator(2), dtype=torch.float64) * 3 + 1


def interrupted(_: Tensor) -> None:
    raise KeyboardInterrupt


def snapshot(network: nn.Module) -> list[object]:
    """All that the context may touch, by identity and by value."""
    found: list[object] = []
    for module in network.modules():
        found += [module.training, len(module._forward_hooks), len(module._forward_pre_hooks)]
        found += [(name, id(b), None if b is None else b.tolist()) for name, b in module._buffers.items()]
    return found


def test_constant_statistics_by_pencil() -> None:
    """One channel, values 1 and 3: mean 2, biased variance 1 (unbiased would be 2); derivative 1/sqrt(1 + eps)."""
    norm = nn.BatchNorm1d(1, eps=0.21).double()
    x = torch.tensor([[1.0], [3.0]], dtype=torch.float64, requires_grad=True)
    with batch_norm_statistics(norm, "constant"):
        y = norm(x)
    assert_close(y.detach(), torch.tensor([[-1 / 1.1], [1 / 1.1]], dtype=torch.float64))
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert_close(gradient, torch.full((2, 1), 1 / 1.1, dtype=torch.float64))
    with batch_norm_statistics(norm, "batch"):
        (gradient,) = torch.autograd.grad(norm(x).sum(), x)
    assert_close(gradient, torch.zeros(2, 1, dtype=torch.float64))  # the sum of normalised values is always zero


@pytest.mark.parametrize(("kind", "shape"), KINDS)
@pytest.mark.parametrize("training", [True, False])
def test_values_are_those_of_train_and_of_eval_mode(
    kind: type[_BatchNorm], shape: tuple[int, ...], training: bool
) -> None:
    x = values(shape)
    by_train = one_norm(kind).train()(x)
    by_eval = one_norm(kind).eval()(x)
    assert (by_train - by_eval).abs().max() > 0.1
    norm = one_norm(kind).train(training)
    expected: dict[Statistics, Tensor] = {"batch": by_train, "constant": by_train, "running": by_eval}
    for mode in MODES:
        with batch_norm_statistics(norm, mode):
            assert_close(norm(x), expected[mode])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("fails", ["nowhere", "in the body", "in a norm", "after a norm"])
def test_network_is_left_as_it_was_found(mode: Statistics, training: bool, fails: str) -> None:
    with torch.random.fork_rng(devices=[]):
        convolution, linear = nn.Conv2d(1, 3, 3, padding=1).double(), nn.Linear(7, 7).double()
    network = nn.Sequential(convolution, one_norm(nn.BatchNorm2d), one_norm(BatchNormAct2d)).train(training)
    network[2].eval()  # flags need not agree
    x = images(4, 3)
    if fails == "after a norm":
        network.append(linear)
    before = snapshot(network)
    if fails == "nowhere":
        with batch_norm_statistics(network, mode):
            network(x)
            assert [m.training for m in network] == [training, training, False]
    elif fails == "in the body":
        with pytest.raises(KeyboardInterrupt), batch_norm_statistics(network, mode):
            interrupted(network(x))
    elif fails == "in a norm":
        with pytest.raises((ValueError, RuntimeError, AssertionError)), batch_norm_statistics(network, mode):
            network[1](torch.ones(2, 9, 2, dtype=torch.float64))
    else:
        with pytest.raises(RuntimeError), batch_norm_statistics(network, mode):
            network(x)
    assert snapshot(network) == before


def test_modules_are_themselves_again_between_calls_inside_the_context() -> None:
    """A checkpoint written inside the context holds the running statistics."""
    network = normed(4)
    before = snapshot(network)
    keys = set(network.state_dict())
    with batch_norm_statistics(network, "batch"):
        with pytest.raises(RuntimeError):
            network(torch.ones(2, 1, 5, 5, dtype=torch.float64))  # fits the norm, not the linear layer
        with pytest.raises(ValueError, match="4D"):
            network[1](torch.ones(2, 3, 5, dtype=torch.float64))  # fails inside the norm
        assert set(network.state_dict()) == keys
        assert network[1].training
        assert network[1].running_mean is not None
    assert snapshot(network) == before


def test_batch_mode_has_the_gradients_of_train_mode() -> None:
    x = images(4, 5).requires_grad_()
    network = normed(6)
    with batch_norm_statistics(network, "batch"):
        loss = network(x).square().sum()
    found = torch.autograd.grad(loss, [x, *network.parameters()])
    expected = torch.autograd.grad(network(x).square().sum(), [x, *network.parameters()])
    for ours, theirs in zip(found, expected, strict=True):
        assert_close(ours, theirs)
    assert network[1].num_batches_tracked == 1  # by the second pass alone


@pytest.mark.parametrize(("kind", "shape"), KINDS)
def test_constant_mode_has_the_jacobian_of_an_affine_map(kind: type[_BatchNorm], shape: tuple[int, ...]) -> None:
    """d y_c / d x_c = weight_c / sqrt(var_c + eps), at that entry alone; times the activation's own slope."""
    norm = one_norm(kind).train()
    x = values(shape).requires_grad_()
    with batch_norm_statistics(norm, "constant"):
        y = norm(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    flat = x.detach().transpose(0, 1).flatten(1)
    scale = norm.weight.detach() / (flat.var(1, correction=0) + norm.eps).sqrt()
    expected = scale.view(1, 3, *[1] * (len(shape) - 2)).expand(shape)
    if kind is BatchNormAct2d:
        expected = expected * (y.detach() > 0)
    assert_close(gradient, expected)


def test_second_derivatives_by_finite_differences() -> None:
    """For ``batch`` and ``running`` the graph is the function: gradgradcheck differentiates it numerically."""
    x = values((4, 3, 1, 1)).requires_grad_()
    outer = values((4, 3, 1, 1)).cos().requires_grad_()
    norm = one_norm(nn.BatchNorm2d).train()

    for mode in ("batch", "running"):

        def run(x: Tensor, weight: Tensor, bias: Tensor, mode: Statistics = mode) -> Tensor:
            with batch_norm_statistics(norm, mode):
                return torch.func.functional_call(norm, {"weight": weight, "bias": bias}, (x,)).sin()

        inputs = (x, norm.weight.detach().requires_grad_(), norm.bias.detach().requires_grad_())
        assert torch.autograd.gradcheck(run, inputs, fast_mode=True)
        assert torch.autograd.gradgradcheck(run, inputs, outer, fast_mode=True)


@pytest.mark.parametrize("mode", ["running", "constant"])
def test_parameter_gradients_of_a_jacobian_term_are_those_of_a_fixed_affine_map(mode: Statistics) -> None:
    """Double backward, against the same network with its norm written out by hand."""
    network = normed(7)
    convolution, norm, *rest = network
    x = images(3, 8).requires_grad_()
    z = convolution(x)
    flat = z.detach().transpose(0, 1).flatten(1)
    mean, variance, _ = norm.buffers()
    if mode == "constant":
        mean, variance = flat.mean(1), flat.var(1, correction=0)
    by_hand = nn.Sequential(*rest)(affine(norm, z, mean, variance))
    with batch_norm_statistics(network, mode):
        ours = network(x)
    assert_close(ours, by_hand)
    terms = [maths.squared_norm(maths.full_jacobian(logits, x, create_graph=True)) for logits in (ours, by_hand)]
    assert_close(terms[0], terms[1])
    parameters = list(network.parameters())
    gradients = [torch.autograd.grad(term, parameters, materialize_grads=True, allow_unused=True) for term in terms]
    for found, expected in zip(*gradients, strict=True):
        assert_close(found, expected)
    assert all(gradient.abs().max() > 1e-3 for gradient in gradients[0][:4])


def test_running_mode_is_deaf_to_a_later_pass_in_train_mode() -> None:
    """Torch's own eval mode keeps the running buffers for its backward pass; a train pass overwrites them in place,
    unnoticed, and the gradient is that of other statistics.
    """
    network = normed(9)
    x = images(3, 10).requires_grad_()
    with batch_norm_statistics(network, "running"):
        logits = network(x)
    expected = maths.full_jacobian(logits, x, create_graph=False)
    for _ in range(20):
        network(x)
    assert torch.equal(maths.full_jacobian(logits, x, create_graph=False), expected)


def test_running_mode_equals_eval_mode_jacobian() -> None:
    network = normed(11)
    x = images(3, 12).requires_grad_()
    with batch_norm_statistics(network, "running"):
        logits = network(x)
    found = maths.full_jacobian(logits, x, create_graph=False)
    assert_close(found, reference_jacobian(network.eval(), x.detach()))


def test_dropout_in_the_network_stays_in_train_mode() -> None:
    network = nn.Sequential(one_norm(nn.BatchNorm2d), nn.Dropout(1.0)).train()
    with batch_norm_statistics(network, "running"):
        assert network(values((4, 3, 2, 2))).abs().max() == 0


def test_inner_context_rules_and_the_outer_one_returns() -> None:
    norm = one_norm(nn.BatchNorm2d).train()
    x = values((4, 3, 2, 2))
    before = snapshot(norm)
    by_eval = one_norm(nn.BatchNorm2d).eval()(x)
    by_train = one_norm(nn.BatchNorm2d).train()(x)
    with batch_norm_statistics(norm, "batch"):
        with batch_norm_statistics(norm, "running"):
            assert_close(norm(x), by_eval)
        assert_close(norm(x), by_train)
    with batch_norm_statistics(norm, "running"):
        with batch_norm_statistics(norm, "constant"):
            assert_close(norm(x), by_train)
        assert_close(norm(x), by_eval)
    assert snapshot(norm) == before


def test_module_without_running_statistics() -> None:
    network = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False, affine=False)).double()
    x = values((4, 3, 2, 2))
    expected = network(x)
    for mode in ("batch", "constant"):
        with batch_norm_statistics(network, mode):
            assert_close(network(x), expected)
    with pytest.raises(UserError, match="'0' has no running statistics"), batch_norm_statistics(network, "running"):
        pass


@pytest.mark.parametrize("mode", ["batch", "constant"])
def test_one_value_per_channel_has_no_batch_statistics(mode: Statistics) -> None:
    norm = one_norm(nn.BatchNorm2d).train()
    with pytest.raises(ValueError, match=r"more than (1|one) value"), batch_norm_statistics(norm, mode):
        norm(torch.ones(1, 3, 1, 1, dtype=torch.float64))


def test_unknown_mode_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="batch, running, constant"), batch_norm_statistics(normed(1), "eval"):  # type: ignore[arg-type]
        pass


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_constant_statistics_of_half_precision_inputs_are_taken_in_float32(dtype: torch.dtype) -> None:
    """Large values whose squares overflow float16 still normalise."""
    norm = nn.BatchNorm1d(1)
    x = torch.tensor([[300.0], [-300.0], [300.0], [-300.0]], dtype=dtype)
    with batch_norm_statistics(norm, "constant"):
        y = norm(x)
    assert_close(y.detach().float(), torch.tensor([[1.0], [-1.0], [1.0], [-1.0]]))
