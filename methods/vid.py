"""Variational information distillation: a Gaussian of the teacher's maps, given the student's (Ahn et al. 2019).

Formula: ce·CE(y, p_S) + vid·⟨mean over C·h·w of ½·[(F_T − μ(F_S))²/σ_c² + log σ_c²]⟩ at each of `layers`, σ_c² =
    softplus(a_c) + 1e-5, μ three 1×1 convolutions with ReLU between
Published: weight 1 on the mean over all elements; σ² starts at 5.
Here: 1 on an image's mean over its map, the same number. σ is trained, as in the paper and in RepDistiller;
    mdistiller leaves it out of the optimiser, so that its variance stays at 5 and the term is a squared error over
    10.
Identity: with σ fixed it is the squared error over 2σ², and a constant. The best σ_c² is the mean squared error of
    channel c.
Cost: the three convolutions are as wide as the teacher's maps, and work on each pixel of each layer.
Traps: where the teacher's maps vary far less than σ² = 5, the term is flat for long. μ and σ inherit the student's
    optimiser.
"""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from jkbench import Depth, Method, Weight, cross_entropy


class Gaussian(nn.Module):
    """Mean and variance of maps with ``outputs`` channels, given maps with ``inputs``."""

    def __init__(self, inputs: int, outputs: int, variance: float) -> None:
        super().__init__()
        first, second, third = (nn.Conv2d(channels, outputs, 1, bias=False) for channels in (inputs, outputs, outputs))
        self.mean = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)
        self.a = nn.Parameter(torch.full((outputs,), math.log(math.expm1(variance))))

    def forward(self, mine: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
        variance = (functional.softplus(self.a) + 1e-5)[:, None, None]
        return ((theirs - self.mean(mine)).square() / variance + variance.log()).mean() / 2


class VID(Method):
    cite = "ahn2019variational"
    tasks = {"distillation", "transfer"}
    ranges = {"variance": None}

    ce: Weight = 1.0
    vid: Weight = 1.0
    layers: Depth = "all"
    variance: Annotated[float, Field(gt=0, le=100)] = 5.0

    def modules(self, student, teacher):
        pairs = zip(student.features(self.layers), teacher.features(self.layers), strict=True)
        given = [Gaussian(mine.shape[1], theirs.shape[1], self.variance) for mine, theirs in pairs]
        return {"given": nn.ModuleList(given)}

    def loss(self, batch, student, teacher):
        if self.ce:
            yield "ce", self.ce * cross_entropy(student.logits, batch.y)
        if self.vid:
            pairs = zip(student.features(self.layers), teacher.features(self.layers), strict=True)
            given = zip(student.modules["given"], pairs, strict=True)
            yield "vid", self.vid * sum(gaussian(*maps) for gaussian, maps in given)
