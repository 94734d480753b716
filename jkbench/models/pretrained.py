"""Networks with trained weights in timm: their configuration, and their weights in the suite's own layout.

timm downloads the weights, or they are read from a local safetensors file with timm's own names.
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
    """A model's configuration: how images are normalised, its number of classes, and its image size."""

    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int
    fixed_size: bool
    """Whether it takes only this size."""

    @property
    def normalisation(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel, C×1×1, for pixels in 0..1."""
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        return mean, std


def pretrained_facts(architecture: str) -> Facts:
    """The configuration of ``timm:NAME``. `UserError` if timm has no such model, or no weights for it."""
    name = _name(architecture)
    try:
        configuration = timm.get_pretrained_cfg(name)
    except RuntimeError:  # the model has weights, but none with this tag
        configuration = None
    if configuration is None or not configuration.has_weights:
        raise UserError(
            f"timm has no trained weights for {name}", "timm.list_pretrained() lists the models with weights"
        )
    return Facts(
        classes=configuration.num_classes,
        mean=configuration.mean,
        std=configuration.std,
        size=configuration.input_size[1],
        fixed_size=configuration.fixed_input_size,
    )


def pretrained_state(architecture: str, file: Path | None) -> dict[str, Tensor]:
    """The trained weights of ``timm:NAME`` under the names of a `jkbench.models.network.Network`: body and head.

    `UserError` if they cannot be downloaded, the file is damaged or for another model, or the head is not linear.
    """
    name = _name(architecture)
    try:
        model: Any = timm.create_model(name, pretrained=file is None)
    except Exception as error:  # timm, its hub and the network below raise anything
        raise UserError(
            f"the weights of {name} cannot be downloaded: {type(error).__name__}: {str(error).splitlines()[0]}",
            "without a network: jkbench teacher import --task TASK FILE (for the oracle: --role student); FILE is a "
            "safetensors file of this timm model",
        ) from error
    if file is not None:
        _load(model, name, file)
    head = model.get_classifier()
    if not isinstance(head, nn.Linear):
        raise UserError(
            f"the classifier of {name} is a {type(head).__name__}, not one linear layer", "use another model"
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
    hint = f"use a safetensors file with timm's own names for {name}"
    try:
        state: Mapping[str, Tensor] = load_file(file)
    except FileNotFoundError:
        raise UserError(f"there is no file {file}", hint) from None
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"the weights in {file} are damaged: {error}", hint) from None
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        first = "; ".join(line.strip()[:160] for line in str(error).splitlines()[1:3])
        raise UserError(f"the weights in {file} are not those of {name}: {first}", hint) from None


def _name(architecture: str) -> str:
    name = architecture.removeprefix("timm:")
    if not timm.is_model(name):
        raise unknown("timm model", name, timm.list_models())
    return name
