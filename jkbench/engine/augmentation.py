"""Random views of a batch of images, as tensor code on the images' device.

The draws are made on the host, from a stream that the seed and the step decide: all methods see the same views, and
a resumed training sees the same views.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from jkbench.tasks.task import Augmentation


def drawn(count: int, how: Augmentation, stream: torch.Generator) -> Tensor:
    """What the views of ``count`` images are made of, float32 6×count on the host: the draws of `augmented`.

    Rows: of the zoom its area and place (2), each uniform in 0..1; of the flip, uniform in 0..1; of the shift its
    rows and columns, in whole pixels from 0.
    """
    found = torch.zeros(6, count)
    if how.zoom is not None:
        found[:3] = torch.rand(3, count, generator=stream)
    if how.flip or how.shift:
        found[3] = torch.rand(count, generator=stream)
        found[4:] = torch.randint(0, 2 * how.shift + 1, (2, count), generator=stream)
    return found


def augmented(x: Tensor, how: Augmentation, draws: Tensor) -> Tensor:
    """A view of each normalised image, B×C×h×w as ``x``, channels last in memory; in the order zoom, flip, shift.

    ``draws`` are those of `drawn`, on the images' device. What a shift brings in from outside is 0, the mean of its
    channel. A zoom reads between pixels bilinearly, without smoothing.
    """
    if how.zoom is not None:
        x = _zoomed(x, how.zoom, draws[:3])
    if how.flip or how.shift:
        x = _moved(x, how, draws[3], draws[4:].long())
    return x.contiguous(memory_format=torch.channels_last)


def _zoomed(x: Tensor, area: tuple[float, float], draws: Tensor) -> Tensor:
    """A square of each image, of a share of the area uniform in ``area`` and anywhere in it, resized to the whole."""
    low, high = area
    side = (low + (high - low) * draws[0]).sqrt()
    centre = (1 - side) * (2 * draws[1:] - 1)  # of the crop, in the image's coordinates from −1 to 1
    theta = torch.zeros(len(x), 2, 3, device=x.device)
    theta[:, 0, 0] = theta[:, 1, 1] = side
    theta[:, :, 2] = centre.T
    grid = functional.affine_grid(theta, list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _moved(x: Tensor, how: Augmentation, flip: Tensor, offset: Tensor) -> Tensor:
    """Each image flipped for a half of the draws, and shifted by whole pixels."""
    count, _, height, width = x.shape
    flipped = flip < (0.5 if how.flip else 0.0)
    columns = torch.arange(width, device=x.device).expand(count, width)
    columns = torch.where(flipped[:, None], width - 1 - columns, columns) + offset[1][:, None]
    rows = torch.arange(height, device=x.device) + offset[0][:, None]
    padded = functional.pad(x, (how.shift,) * 4)
    image = torch.arange(count, device=x.device)
    index = (image[:, None, None], rows[:, :, None], columns[:, None, :])
    return padded.permute(0, 2, 3, 1)[index].permute(0, 3, 1, 2)
