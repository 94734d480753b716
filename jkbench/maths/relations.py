"""Relations between images: similarities, distances and angles inside a batch, contrast with a memory, mixtures.

Those inside a batch raise `UserError` at fewer than two images.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from jkbench.errors import UserError
from jkbench.maths.losses import alike, normalised


def similarity(features: Tensor) -> Tensor:
    """Gram matrix of the flattened features, each row divided by its norm: B×… → B×B. A zero row stays zero.

    Source: Tung & Mori 2019, equations 1 and 2.
    """
    flat = _relatable(features)
    return normalised(flat @ flat.T)


def relative_distances(embeddings: Tensor) -> Tensor:
    """Distances of all pairs, divided by the mean over pairs that differ: B×d → B×B.

    Coincident images have distance and gradient zero. Source: Park et al. 2019, equations 4 and 5.
    """
    distances = _distances(_relatable(embeddings))
    apart = distances.detach() > 0
    return distances * apart.sum().clamp(min=1) / distances.sum().clamp(min=_SMALLEST)


def angles(embeddings: Tensor) -> Tensor:
    """Cosine of the angle at image i between j and k: B×d → B×B×B; zero if i coincides with j or k.

    From the Gram matrix: ⟨e_j − e_i, e_k − e_i⟩ = G_jk − G_ij − G_ik + G_ii. No tensor has B²·d numbers.
    Source: Park et al. 2019, equation 7.
    """
    centred = _relatable(embeddings)
    centred = centred - centred.mean(0)
    gram, distances = centred @ centred.T, _distances(centred)
    apart = distances.detach() > 0
    inverse = torch.where(apart, 1 / distances.where(apart, 1.0), 0.0)
    products = gram[None] - gram[:, :, None] - gram[:, None] + gram.diagonal()[:, None, None]
    return products * inverse[:, :, None] * inverse[:, None]


def huber(student: Tensor, teacher: Tensor) -> Tensor:
    """Half the square up to a difference of 1, then linear: two tensors of one shape → scalar, the mean."""
    alike(student, teacher)
    return functional.smooth_l1_loss(student, teacher)


def mixup(x: Tensor, share: Tensor, order: Tensor) -> Tensor:
    """share·x + (1 − share)·x[order]: images B×…, a share or B of them, a permutation B. Source: Zhang et al. 2018."""
    share = share.view(-1, *[1] * (x.ndim - 1))
    return share * x + (1 - share) * x[order]


def noise_contrast(scores: Tensor, own: Tensor, others: Tensor) -> Tensor:
    """−log h of each image's own score and −log(1 − h) of the ``others``', h = e^s/(e^s + N/M), N others of M scores:
    scores B×M, own B, others B×M of bool → scalar, a sum over scores and the mean over the batch.

    Source: Tian, Krishnan & Isola 2020, equations 18 and 19.
    """
    share = (others.sum(1, keepdim=True) / scores.shape[1]).log()
    positive = functional.softplus(share - scores.gather(1, own[:, None])).sum(1)
    return (positive + functional.softplus(scores - share).where(others, 0.0).sum(1)).mean()


_SMALLEST = torch.finfo(torch.float32).tiny


def _distances(rows: Tensor) -> Tensor:
    # not by the Gram matrix: rounding would make coincident rows differ, and the root's gradient there is infinite
    return torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")


def _relatable(features: Tensor) -> Tensor:
    if len(features) < 2:
        raise UserError("a batch of one image has no relations", "take a larger batch in the task's [student.training]")
    return features.flatten(1)
