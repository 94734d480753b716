"""Random views of a batch of images, as tensor code on the images' device.

The draws are made on the host, from a stream that the seed and the step decide: all methods see the same views, and
a resumed training sees the same views.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from jkbench.tasks.task import Augmentation


def augmented(x: Tensor, how: Augmentation, stream: torch.Generator) -> Tensor:
    """A view of each normalised image, B×C×h×w as ``x``, channels last in memory; in the order zoom, flip, shift.

    What a shift brings in from outside is 0, the mean of its channel. A zoom reads between pixels bilinearly, without
    smoothing.
    """
    if how.zoom is not None:
        x = _zoomed(x, how.zoom, stream)
    if how.flip or how.shift:
        x = _moved(x, how, stream)
    return x.contiguous(memory_format=torch.channels_last)


def _zoomed(x: Tensor, area: tuple[float, float], stream: torch.Generator) -> Tensor:
    """A square of each image, of a share of the area uniform in ``area`` and anywhere in it, resized to the whole."""
    low, high = area
    draws = torch.rand(3, len(x), generator=stream)
    side = (low + (high - low) * draws[0]).sqrt()
    centre = (1 - side) * (2 * draws[1:] - 1)  # of the crop, in the image's coordinates from −1 to 1
    theta = torch.zeros(len(x), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = side
    theta[:, :, 2] = centre.T
    grid = functional.affine_grid(theta.to(x.device), list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _moved(x: Tensor, how: Augmentation, stream: torch.Generator) -> Tensor:
    """Each image flipped for a half of the draws, and shifted by whole pixels."""
    count, _, height, width = x.shape
    flip = torch.rand(count, generator=stream) < (0.5 if how.flip else 0.0)
    offset = torch.randint(0, 2 * how.shift + 1, (2, count), generator=stream)
    columns = torch.arange(width).expand(count, width)
    columns = torch.where(flip[:, None], width - 1 - columns, columns) + offset[1][:, None]
    rows = torch.arange(height) + offset[0][:, None]
    padded = functional.pad(x, (how.shift,) * 4)
    image = torch.arange(count)
    index = (image[:, None, None], rows[:, :, None], columns[:, None, :])
    return padded.permute(0, 2, 3, 1)[tuple(part.to(x.device) for part in index)].permute(0, 3, 1, 2)
