"""A network of the suite: a body, a head for the labels and, on request, a head for the teacher's outputs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from jkbench.errors import UserError
from jkbench.models.vgg import NAMED, VGG
from jkbench.seeds import seed_of


@dataclass(frozen=True)
class Outputs:
    """One forward pass: logits B×k for the labels, logits B×K comparable to the teacher's, feature maps by layer, and
    the embedding B×d that the heads read. ``before``: maps before the activations, where the network keeps them."""

    logits: Tensor
    teacher_logits: Tensor
    maps: dict[str, Tensor]
    embedding: Tensor
    before: dict[str, Tensor] | None = None


class Network(nn.Module):
    """Body and heads. Without a teacher head, ``teacher_logits`` are the logits themselves."""

    body: nn.Module
    head: nn.Module
    teacher_head: nn.Module | None

    def __init__(self, body: nn.Module, head: nn.Module, teacher_head: nn.Module | None = None) -> None:
        super().__init__()
        self.body = body
        self.head = head
        self.teacher_head = teacher_head
        self.keeps_before = False

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers whose maps are read, shallow to deep."""
        names: list[str] = self.body.names  # type: ignore[assignment]
        return tuple(filter(None, names))

    def forward(self, x: Tensor) -> Outputs:
        """Normalised images B×C×H×W → outputs."""
        with before_activations(self) as kept:
            maps, embedding = self.body(x)
        before = {name: given for name, (given, result) in kept.items() if result is maps[name]}
        logits = self.head(embedding)
        of_teacher = logits if self.teacher_head is None else self.teacher_head(embedding)
        return Outputs(logits, of_teacher, maps, embedding, before if self.keeps_before else None)


@contextmanager
def before_activations(network: Network) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
    """Record what the last activation of each layer is given and returns, where the network keeps it."""
    kept: dict[str, tuple[Tensor, Tensor]] = {}
    given: dict[str, Tensor] = {}

    def take(name: str, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        given[name] = inputs[0].clone() if getattr(module, "inplace", False) else inputs[0]

    def put(name: str, module: nn.Module, inputs: object, result: Tensor) -> None:
        kept[name] = (given.pop(name), result)

    hooks = []
    for name in network.layers if network.keeps_before else ():
        for each in list(filter(_activates, _modules(network, name)))[-1:]:
            hooks += [
                each.register_forward_pre_hook(partial(take, name)),
                each.register_forward_hook(partial(put, name)),
            ]
    try:
        yield kept
    finally:
        for hook in hooks:
            hook.remove()


def _modules(network: Network, name: str) -> list[nn.Module]:
    layer: nn.Module = network.body.layer(name)  # type: ignore[operator]
    return list(layer.modules())


def _activates(module: nn.Module) -> bool:
    return type(module).__module__.split(".")[-1].startswith("activation")  # where torch and timm have them


def norm_before_activation(network: Network, name: str) -> _BatchNorm:
    """The last batch norm before a layer's last activation, as the modules are written; `UserError` for none."""
    inside = _modules(network, name)
    last = max((at for at, module in enumerate(inside) if _activates(module)), default=0)
    found = [module for module in inside[:last] if isinstance(module, _BatchNorm) and module.affine]
    if not found:
        raise UserError(f"no batch norm comes before an activation in {name}", "match other layers")
    return found[-1]


def placed(network: Network, device: torch.device) -> Network:
    """Move the network to a device, with convolution weights channels-last in memory: the layout of the images.

    Results change by rounding only; on two CPU cores a step of VGG-4 takes half the time (docs/performance.md).
    """
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


@contextmanager
def seeded(*names: object) -> Iterator[None]:
    """Set torch's global random state to a named seed inside the context, and restore it afterwards."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed_of(*names))
        yield


def body(architecture: str, channels: int, size: int) -> nn.Module:
    """A body with fresh weights: ``vgg-9``, ``vgg:16-M-32`` or ``timm:NAME``. `UserError` for any other name."""
    family, _, layers = architecture.partition(":")
    if architecture in NAMED:
        return VGG(NAMED[architecture], channels, size)
    if family == "vgg" and layers:
        return VGG(layers, channels, size)
    if family == "timm" and layers:
        from jkbench.models.timm_body import TimmBody

        return TimmBody(layers, channels, size)
    raise UserError(
        f"there is no architecture {architecture!r}", f"use vgg:16-M-32, timm:resnet18, or {', '.join(NAMED)}"
    )


def build(
    architecture: str, channels: int, size: int, classes: int, seed: int, teacher_classes: int | None = None
) -> Network:
    """A network with initial weights that depend on the seed alone.

    Body, head and teacher head each have their own random stream: a method with a teacher head starts from the same
    body and head as one without. Built on the host, so that every device starts from the same numbers.
    """
    with seeded("init", "body", seed):
        trunk = body(architecture, channels, size)
    width: int = trunk.width  # type: ignore[assignment]
    with seeded("init", "head", seed):
        head = nn.Linear(width, classes)
    teacher_head = None
    if teacher_classes is not None:
        with seeded("init", "teacher-head", seed):
            teacher_head = nn.Linear(width, teacher_classes)
    return Network(trunk, head, teacher_head)
