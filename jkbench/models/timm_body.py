"""Any timm model as a body: feature maps and embedding through timm's own feature interface."""

from __future__ import annotations

from typing import Any

import timm
from torch import Tensor, nn

from jkbench.errors import UserError, unknown


class TimmBody(nn.Module):
    """A timm model without its classifier. Layers have the names of timm's ``feature_info``."""

    def __init__(self, name: str, channels: int, size: int) -> None:
        """Random weights; `UserError` for a ``name`` unknown to timm, or a model without feature interface."""
        super().__init__()
        if not timm.is_model(name):
            raise unknown("timm model", name, timm.list_models())
        try:
            model: Any = timm.create_model(name, pretrained=False, in_chans=channels, num_classes=0)
        except (RuntimeError, TypeError, AssertionError) as error:
            raise UserError(f"timm:{name} does not take images of {channels} channels: {error}") from None
        if not hasattr(model, "forward_intermediates") or not hasattr(model, "forward_head"):
            raise UserError(
                f"timm:{name} has no feature interface (forward_intermediates)",
                "use for example a ResNet, RegNet or ConvNeXt",
            )
        info = model.feature_info
        self.names = [entry["module"] if isinstance(entry, dict) else str(entry) for entry in info]
        self.width = int(getattr(model, "head_hidden_size", None) or model.num_features)
        self.model = model

    def layer(self, name: str) -> nn.Module:
        """The module that ends with the map of this name."""
        model: nn.Module = self.model
        return model.get_submodule(name)

    def forward(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Images B×C×H×W → feature maps by layer, and the embedding B×width."""
        model: Any = self.model
        last, maps = model.forward_intermediates(x, output_fmt="NCHW")
        embedding = model.forward_head(last, pre_logits=True)
        return dict(zip(self.names, maps, strict=True)), embedding
