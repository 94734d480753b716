"""Networks that timm has trained weights of: what their configuration says, and their weights as the suite's own.

Weights come through timm, as its users expect, or from a local safetensors file with timm's own names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from jkbench.errors import UserError, unknown


@dataclass(frozen=True)
class Facts:
    """What a model's configuration says: how images are normalised, how many classes it knows, what size it wants."""

    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int
    fixed_size: bool
    """Whether it takes no other size."""

    @property
    def normalisation(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of each channel, C×1×1, of pixels in 0..1."""
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        return mean, std


def pretrained_facts(architecture: str) -> Facts:
    """The configuration of ``timm:NAME``. `UserError` where timm has no such model, or no weights of it."""
    name = _name(architecture)
    try:
        configuration = timm.get_pretrained_cfg(name)
    except RuntimeError:  # there are weights of the model, and none of this tag
        configuration = None
    if configuration is None or not configuration.has_weights:
        raise UserError(f"timm has no trained weights of {name}", "timm.list_pretrained() names those that it has")
    return Facts(
        classes=configuration.num_classes,
        mean=configuration.mean,
        std=configuration.std,
        size=configuration.input_size[1],
        fixed_size=configuration.fixed_input_size,
    )


def pretrained_state(architecture: str, file: Path | None) -> dict[str, Tensor]:
    """The trained weights of ``timm:NAME`` under the names of a `jkbench.models.network.Network`: body and head.

    `UserError` where they cannot be fetched, the file is damaged or of another model, or the classifier is no linear
    layer.
    """
    name = _name(architecture)
    try:
        model: Any = timm.create_model(name, pretrained=file is None)
    except Exception as error:  # timm, its hub and the network beneath raise whatever they like
        raise UserError(
            f"the weights of {name} cannot be fetched: {type(error).__name__}: {str(error).splitlines()[0]}",
            "without a network: jkbench teacher import --task TASK FILE (--role student: the oracle's), a safetensors "
            "file of this timm model",
        ) from error
    if file is not None:
        _load(model, name, file)
    head = model.get_classifier()
    if not isinstance(head, nn.Linear):
        raise UserError(
            f"the classifier of {name} is a {type(head).__name__}, not one linear layer", "take another model"
        )
    last = next(key for key, module in model.named_modules() if module is head)
    state: dict[str, Tensor] = {}
    for key, value in model.state_dict().items():
        if key.startswith(f"{last}."):
            state["head" + key.removeprefix(last)] = value
        else:
            state[f"body.model.{key}"] = value
    if head.bias is None:
        state["head.bias"] = torch.zeros(head.out_features)
    return state


def _load(model: nn.Module, name: str, file: Path) -> None:
    hint = f"bring a safetensors file with timm's own names for {name}"
    try:
        state: Mapping[str, Tensor] = load_file(file)
    except FileNotFoundError:
        raise UserError(f"there is no file {file}", hint) from None
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"the weights in {file} are damaged: {error}", hint) from None
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        told = [line.strip() for line in str(error).splitlines()[1:]]
        shown = "; ".join(line[:160] for line in told[:2])
        raise UserError(f"the weights in {file} are not those of {name}: {shown}", hint) from None


def _name(architecture: str) -> str:
    name = architecture.removeprefix("timm:")
    if not timm.is_model(name):
        raise unknown("timm model", name, timm.list_models())
    return name
