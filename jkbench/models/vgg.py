"""The paper's VGG networks, by layer string.

A number is a block: 3×3 convolution with that many channels, stride 1 → BatchNorm → ReLU; ``M`` is a 2×2 max-pool of
stride 2. Global average pooling follows. Source: Srinivas & Fleuret 2018, section 6 (VGG-9 teacher, VGG-4 student).
"""

from __future__ import annotations

from torch import Tensor, nn

from jkbench.errors import UserError

NAMED = {
    "vgg-9": "64-M-128-M-256-256-M-512-512-M-512-512-M",
    "vgg-4": "64-M-128-M-512-M",
}


class VGG(nn.Module):
    """A VGG body. Stages ``stage1``, … are the blocks between two poolings; their maps are read before the pooling."""

    def __init__(self, layers: str, channels: int, size: int) -> None:
        """``layers`` as in ``"16-M-32"``, for square images; `UserError` if they do not fit."""
        super().__init__()
        stages: list[list[nn.Module]] = [[]]
        for token in layers.split("-"):
            if token == "M":
                size //= 2
                stages.append([nn.MaxPool2d(2, 2)])
            elif token.isdigit() and int(token) > 0:
                width = int(token)
                stages[-1] += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
                channels = width
            else:
                raise UserError(f"vgg:{layers}: {token!r} is neither a width nor M", 'for example "vgg:16-M-32"')
        if size < 1:
            raise UserError(f"vgg:{layers}: the images are too small for {layers.count('M')} poolings")
        if not any(isinstance(module, nn.Conv2d) for stage in stages for module in stage):
            raise UserError(f"vgg:{layers} has no convolution")
        self.stages = nn.ModuleList(nn.Sequential(*stage) for stage in stages)
        # a final pooling alone is not a stage
        self.names = [f"stage{number}" if len(stage) > 1 else "" for number, stage in enumerate(stages, start=1)]
        self.width = channels

    def layer(self, name: str) -> nn.Module:
        """The module that ends with the map of this name."""
        return self.stages[self.names.index(name)]

    def forward(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Images B×C×H×W → feature maps by stage, and the embedding B×width."""
        maps: dict[str, Tensor] = {}
        for name, stage in zip(self.names, self.stages, strict=True):
            x = stage(x)
            if name:
                maps[name] = x
        return maps, x.mean((2, 3))
