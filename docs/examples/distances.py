"""Distances between the images of a batch are the teacher's (Park et al. 2019, RKD-D)."""

import torch
from torch.nn import functional

from jkbench import Method, UserError, Weight, cross_entropy


class Distances(Method):
    ce: Weight = 1.0
    distance: Weight = 25.0

    def loss(self, batch, student, teacher):
        yield "ce", self.ce * cross_entropy(student.logits, batch.y)
        yield (
            "distance",
            self.distance * functional.smooth_l1_loss(relative(student.embedding), relative(teacher.embedding)),
        )


def relative(embedding):
    """Distances of all pairs over their mean."""
    if len(embedding) < 2:
        raise UserError("one image a batch has no distances", "take a larger batch")
    distances = torch.pdist(embedding)
    return distances / distances.mean().clamp_min(1e-12)
