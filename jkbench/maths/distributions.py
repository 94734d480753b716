"""Distances between the distributions that logits stand for: soft targets, decoupled, standardised, correlated."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def kl_divergence(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(p_T ‖ p_S) with p = softmax(z / τ): B×k twice → scalar, a sum over classes and the mean over the batch.

    Multiplied by τ², its gradient keeps its scale as τ grows (Hinton, Vinyals & Dean 2014, section 2.1).
    """
    student, teacher = (functional.log_softmax(z / temperature, 1) for z in (student_logits, teacher_logits))
    return functional.kl_div(student, teacher, reduction="batchmean", log_target=True)


def decoupled(logits: Tensor, labels: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Logits B×2 of "the label or another", and B×(k−1) of the others alone: logits B×k, labels B.

    In logarithms throughout: a sum of probabilities would underflow. Source: Zhao et al. 2022, equation 5.
    """
    scaled, label = logits / temperature, labels[:, None]
    column = torch.arange(logits.shape[1] - 1, device=logits.device)
    others = scaled.gather(1, column + (column >= label))
    return torch.cat([scaled.gather(1, label), others.logsumexp(1, keepdim=True)], 1), others


def standardised(logits: Tensor) -> Tensor:
    """(z − mean) / (deviation + 1e-7) over an image's classes, with k − 1 in the deviation: B×k → B×k.

    Equal logits become zeros, with finite gradients. Source: Sun et al. 2024, equation 7.
    """
    centred = logits - logits.mean(1, keepdim=True)
    deviation = torch.linalg.vector_norm(centred, dim=1, keepdim=True) / (logits.shape[1] - 1) ** 0.5
    return centred / (deviation + 1e-7)


def correlation(student: Tensor, teacher: Tensor) -> Tensor:
    """Pearson's correlation of each row: N×M twice → N. A constant row has 0, with finite gradients.

    Source: Huang et al. 2022, equation 5, with 1e-8 beside the product of the norms, as in their code.
    """
    mine, theirs = (rows - rows.mean(1, keepdim=True) for rows in (student, teacher))
    norms = torch.linalg.vector_norm(mine, dim=1) * torch.linalg.vector_norm(theirs, dim=1)
    return (mine * theirs).sum(1) / (norms + 1e-8)
