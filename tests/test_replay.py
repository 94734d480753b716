"""The fast Jacobian pass against its plain twin: same values, same Jacobians, same gradients by every weight."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from small_networks import draw, generator
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from jkbench import maths
from jkbench.models.batchnorm import recorded_inputs, statistics_of
from jkbench.models.network import Network, build
from jkbench.models.replay import recorded_again, recording, replayed

SIZE = 8


def images(count: int, channels: int = 3, size: int = SIZE, layout: Any = torch.contiguous_format) -> Tensor:
    drawn = torch.randn(count, channels, size, size, generator=generator(1), dtype=torch.float64)
    return drawn.contiguous(memory_format=layout)


class Plain(nn.Module):
    """A module whose logits are its only output."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).mean((2, 3))  # type: ignore[no-any-return]


def vgg() -> Network:
    return build("vgg:6-M-8-8-M-5", 3, SIZE, 4, 0).double().train()


def odd_convolutions() -> nn.Module:
    """Bias, stride, dilation, groups, no padding, a norm without parameters, a pooling that overlaps and rounds up."""
    return draw(
        Plain(
            nn.Conv2d(3, 8, 3, stride=2, padding=2),
            nn.BatchNorm2d(8, affine=False),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=4),
            nn.BatchNorm2d(8, track_running_stats=False),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True),
            nn.Conv2d(8, 4, 2, bias=False),
        ),
        2,
    ).train()


def smooth_activation() -> nn.Module:
    """SiLU has a true second derivative, which must stay."""
    return draw(Plain(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.SiLU(), nn.Conv2d(6, 4, 3)), 3).train()


def in_place() -> nn.Module:
    """Activations that write into the batch norm's result, and a convolution's."""
    return draw(
        Plain(
            nn.Conv2d(3, 6, 3), nn.ReLU(inplace=True), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Conv2d(6, 4, 2), nn.BatchNorm2d(4), nn.LeakyReLU(0.1, inplace=True),
        ),
        4,
    ).train()  # fmt: skip


def partly_frozen() -> nn.Module:
    """A batch norm in evaluation mode keeps its running statistics in both passes."""
    network = draw(Plain(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.BatchNorm2d(4)), 5)
    network.train()
    network.layers[1].eval()
    network.layers[1].running_var.fill_(3.0)
    return network


class Conditional(nn.Module):
    """Convolutions whose weights are computed: from the images (a weight each), and from parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.hyper = nn.Linear(4, 4 * 4 * 9)
        self.last = nn.Parameter(torch.zeros(4, 4, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.norm(self.first(x)).tanh()
        weight = self.hyper(hidden.mean((2, 3))).reshape(-1, 4, 3, 3)
        grouped = torch.conv2d(hidden.flatten(0, 1)[None], weight, groups=len(x))
        hidden = grouped.unflatten(1, (len(x), 4))[0].relu()
        return torch.conv2d(hidden, self.last / self.last.norm()).mean((2, 3))


def conditional() -> nn.Module:
    return draw(Conditional(), 9).train()


def resnet() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return timm.create_model("resnet10t", num_classes=4).double().train()


NETWORKS = {
    "vgg": vgg,
    "odd convolutions": odd_convolutions,
    "smooth activation": smooth_activation,
    "in place": in_place,
    "partly frozen": partly_frozen,
    "conditional": conditional,
    "resnet": resnet,
}


def logits_of(outputs: Any) -> Tensor:
    return outputs if isinstance(outputs, Tensor) else outputs.logits


def both(network: nn.Module, x: Tensor, fast: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of the training pass, logits of the Jacobian pass, and the Jacobian's first row."""
    leaf = x.detach().requires_grad_()
    if fast:
        with recording(network) as kept:
            first = logits_of(network(x))
        with replayed(kept, leaf):
            second = logits_of(network(leaf))
    else:
        with recorded_inputs(network) as inputs:
            first = logits_of(network(x))
        with statistics_of(network, inputs):
            second = logits_of(network(leaf))
    rows = torch.arange(len(x)) % 4
    return first, second, maths.jacobian_rows(second, leaf, rows[:, None], create_graph=True)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["nchw", "channels last"])
def test_the_fast_pass_equals_the_plain_one(name: str, layout: Any) -> None:
    size = 32 if name == "resnet" else SIZE
    x = images(5, size=size, layout=layout)
    found = []
    for fast in (False, True):
        network = NETWORKS[name]().to(memory_format=layout)
        first, second, jacobian = both(network, x, fast)
        # logits, Jacobian and second pass in one loss, as attention-Jacobians have it
        loss = first.square().sum() + jacobian.square().sum() + second.square().sum()
        weights = list(network.parameters())
        gradients = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
        buffers = [buffer.clone() for buffer in network.buffers()]
        found.append([first, second, jacobian, *gradients, *buffers])
    for plain, fast_one in zip(*found, strict=True):
        assert_close(fast_one, plain, rtol=1e-7, atol=1e-9)
    assert float(found[1][2].detach().abs().max()) > 1e-3


def test_the_jacobian_is_that_of_each_image_alone() -> None:
    """Independent of both ways: torch's own Jacobian of the affine map with this batch's statistics."""
    network = draw(Plain(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3)), 6).train()
    x = images(4)
    _, _, ours = both(network, x, fast=True)
    first, norm, _, last = network.layers
    with torch.no_grad():
        z = first(x)
        mean, variance = z.mean((0, 2, 3)), z.var((0, 2, 3), correction=0)

    def alone(image: Tensor) -> Tensor:
        hidden = (first(image[None]) - mean[:, None, None]) / (variance + norm.eps).sqrt()[:, None, None]
        hidden = hidden * norm.weight[:, None, None] + norm.bias[:, None, None]
        return last(hidden.relu()).mean((2, 3))[0]  # type: ignore[no-any-return]

    for at, image in enumerate(x):
        expected = torch.autograd.functional.jacobian(alone, image)[at % 4]
        assert_close(ours[at, 0], expected.flatten())


def test_a_pass_that_draws_random_numbers_keeps_the_statistics_and_draws_anew() -> None:
    network = draw(Plain(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Dropout(0.5), nn.Conv2d(6, 4, 3)), 7).train()
    x = images(6)
    leaf = x.detach().requires_grad_()
    with torch.random.fork_rng(devices=[]):
        with recording(network) as kept:
            network(x)
        torch.manual_seed(3)
        with replayed(kept, leaf):
            ours = network(leaf)
        with recorded_inputs(network) as inputs:
            network(x)
        torch.manual_seed(3)
        with statistics_of(network, inputs):
            plain = network(leaf)
    assert not kept.repeatable
    assert_close(ours, plain)
    assert_close(*(torch.autograd.grad(y.sum(), leaf)[0] for y in (ours, plain)))


def test_statistics_and_counters_learn_from_the_training_pass_alone() -> None:
    network = vgg()
    both(network, images(5), fast=True)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert [int(norm.num_batches_tracked) for norm in norms if norm.num_batches_tracked is not None] == [1] * 4
    before = {name: value.clone() for name, value in network.state_dict().items()}
    kept = recorded_again(network, images(5))
    assert len(kept.calls) > 8
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_another_network_or_another_batch_is_refused() -> None:
    with recording(vgg()) as kept:
        kept.network(images(5))
    for network, x in ((smooth_activation(), images(5)), (kept.network, images(4))):
        with pytest.raises(RuntimeError, match="other operations"), replayed(kept, x):
            network(x)


def test_statistics_of_a_tensor_that_was_written_into_are_refused() -> None:
    class Writes(Plain):
        def forward(self, x: Tensor) -> Tensor:
            hidden = self.layers[0](x)
            normalised = self.layers[1](hidden)
            with torch.no_grad():
                hidden.add_(1)
            return normalised.mean((2, 3))  # type: ignore[no-any-return]

    network = draw(Writes(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), 8).train()
    leaf = images(4).requires_grad_()
    with recording(network) as kept:
        network(leaf.detach())
    with pytest.raises(RuntimeError, match="statistics are lost"), replayed(kept, leaf):
        network(leaf)


class Counted(TorchDispatchMode):
    """How many convolutions ran, forward and backward."""

    def __init__(self) -> None:
        super().__init__()
        self.units = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.convolution.default:
            self.units += 1
        elif func is torch.ops.aten.convolution_backward.default:
            self.units += sum(args[-1][:2])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("values", [True, False])
def test_what_the_fast_pass_saves(fast: bool, values: bool) -> None:
    """Counted, not timed, with three convolutions: forward 3, backward 3 by the weights and 2 by the inputs (nobody
    asks for the gradient by the images), the input gradient 3, its backward 3 by the weights and 3 by the gradient.
    The plain twin has a second forward pass beside, and the way back through it."""
    network = build("vgg:6-M-8-M-5", 3, SIZE, 4, 0).double().train()
    with Counted() as counted:
        first, second, jacobian = both(network, images(5), fast)
        loss = first.square().sum() + jacobian.square().sum()
        if values:  # as an attention-Jacobian, which depends on the features themselves
            loss = loss + second.square().sum()
        torch.autograd.backward(loss, inputs=list(network.parameters()))
    assert counted.units == 3 + 5 + 3 + 6 if fast else counted.units >= 17 + 3 + 5


def test_no_way_back_through_the_jacobian_pass() -> None:
    """What the docstring promises of ReLU and max-pooling: a Jacobian loss alone makes no tensor of zeros."""
    network, x = vgg(), images(5)
    _, _, jacobian = both(network, x, fast=True)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        torch.autograd.backward(jacobian.square().sum(), inputs=list(network.parameters()))
    assert not [event for event in profiled.events() if event.name == "aten::zeros_like"]
