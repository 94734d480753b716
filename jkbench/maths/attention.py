"""Attention maps and attention transfer.

Source: Zagoruyko & Komodakis, Paying More Attention to Attention, ICLR 2017; as used by Srinivas & Fleuret 2018,
section 4.3. Features are B×C×h×w, a map is B×h×w.
"""

from __future__ import annotations

import torch
from torch import Tensor

from jkbench.maths.losses import distance, normalised, squares


def attention_map(features: Tensor) -> Tensor:
    """``A = sum_c |Z_c|²``: features B×C×h×w → B×h×w."""
    return squares(features).sum(1)


def attention_loss(student_map: Tensor, teacher_map: Tensor) -> Tensor:
    """‖A_T/‖A_T‖ − A_S/‖A_S‖‖ of flattened maps, each B×h×w of one size → scalar, mean over the batch.

    Raises ValueError if the sizes differ: maps are resized only if the task says so.
    """
    if student_map.shape != teacher_map.shape:
        raise ValueError(f"attention maps differ in size: {tuple(student_map.shape)} and {tuple(teacher_map.shape)}")
    return distance(normalised(student_map.flatten(1)), normalised(teacher_map.flatten(1)))


def attention_peak(teacher_map: Tensor) -> Tensor:
    """The pixel of largest attention: B×h×w → B, indices into the flattened map. The student uses the teacher's."""
    return teacher_map.detach().flatten(1).argmax(1)


def attention_at(attention: Tensor, pixel: Tensor) -> Tensor:
    """f = A(i, j), one number a sample, whose input gradient is the attention-Jacobian: B×h×w, B → B."""
    return attention.flatten(1).gather(1, pixel[:, None]).squeeze(1)


def class_activation(features: Tensor, weights: Tensor) -> Tensor:
    """ReLU(Σ_c w_c F_c) of an image's class: features B×C×h×w, rows of the head B×C → B×h×w.

    With global average pooling and a linear head it is Grad-CAM times h·w, without its backward pass (Selvaraju et al.
    2017, section 3.1). Raises ValueError if the head reads other features.
    """
    if features.shape[1] != weights.shape[1]:
        raise ValueError(f"the head reads {weights.shape[1]} features, and the map has {features.shape[1]} channels")
    return torch.einsum("bchw,bc->bhw", features, weights).relu()
