"""Features before the activation, with a margin below zero (Heo et al. 2019, OFD: partial L2 with margin ReLU)."""

import torch
from torch import nn

from jkbench import Method, Weight, cross_entropy


class Overhaul(Method):
    ce: Weight = 1.0
    match: Weight = 0.001

    def modules(self, student, teacher):
        pairs = zip(student.features(before=True), teacher.features(before=True), strict=True)
        return {f"to{at}": nn.Conv2d(mine.shape[1], theirs.shape[1], 1) for at, (mine, theirs) in enumerate(pairs)}

    def loss(self, batch, student, teacher):
        yield "ce", self.ce * cross_entropy(student.logits, batch.y)
        total, norms = 0.0, teacher.norm_before()
        pairs = zip(student.features(before=True), teacher.features(before=True), norms, strict=True)
        for at, (mine, theirs, (mean, deviation)) in enumerate(pairs):
            target = torch.maximum(theirs, margin(mean, deviation)[:, None, None])
            gap = student.modules[f"to{at}"](mine) - target
            total = total + (gap.square() * ((gap > 0) | (target > 0))).flatten(1).sum(1).mean()
        yield "match", self.match * total


def margin(mean, deviation):
    """E[x | x < 0] of a normal x, by channel."""
    z = mean / deviation.clamp_min(1e-6)
    return mean - deviation * (-z.square() / 2 - torch.special.log_ndtr(-z)).exp() / (2 * torch.pi) ** 0.5
