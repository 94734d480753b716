"""Fidelity: how closely a student mimics its teacher, on images that it was not trained on.

The paper claims that matching Jacobians makes a student mimic its teacher better, which accuracy alone does not show.
Where the labels differ from the teacher's, the head for the teacher's outputs is compared: how far has it drifted from
the teacher while the student learnt its own labels?
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from jkbench import maths
from jkbench.engine import environment
from jkbench.engine.context import SignalSettings
from jkbench.engine.images import ImageSet
from jkbench.engine.signal_store import CHUNK, SignalStore
from jkbench.engine.signals import JacobianRows, Signals
from jkbench.engine.teacher_signals import Signal, SignalCache
from jkbench.models.network import Network

JACOBIANS = 1000
"""Images whose Jacobians are compared, evenly over the classes: they cost a backward pass each."""


@dataclass(frozen=True)
class Teaching:
    """The teacher's signals on the scored images, computed once for all trials.

    ``some_images``, those at ``some``, are for Jacobians of the correct class: None without such a class.
    """

    images: ImageSet
    setting: SignalSettings
    all_images: SignalCache
    some_images: SignalCache | None
    some: Tensor


def teaching(
    teacher: Callable[[], Network], images: ImageSet, setting: SignalSettings, store: SignalStore | None
) -> Teaching:
    """The teacher's side of a comparison; cached in ``store``, whose images are these. ``teacher`` makes a copy."""
    count = min(JACOBIANS, len(images))
    some = (np.arange(count) * len(images)) // count  # images are ordered by class
    return Teaching(
        images=images,
        setting=setting,
        all_images=SignalCache(teacher, images, setting, store),
        some_images=SignalCache(teacher, images, setting, store, some) if setting.same_labels else None,
        some=torch.from_numpy(some).to(images.device),
    )


def fidelity(student: Network, predicted: Tensor, comparable: Tensor, teacher: Teaching) -> dict[str, float]:
    """Metrics of a student in evaluation mode, of its labels N and its logits N×K that are comparable to the teacher's.

    Of other labels than the teacher's: those of `source_drift`. Of the same labels:
    ``agreement``: share of images with the teacher's label. ``logit_distance``: mean over images of
    sum_i (T_i − S_i)². ``jacobian_distance``: mean of ‖∇T_c − ∇S_c‖², c the correct class, by normalised pixels.
    ``jacobian_cosine``: mean cosine of ∇T_c and ∇S_c.
    """
    images, every = teacher.images, slice(None)
    theirs = teacher.all_images.get(Signal("logits"), every)
    assert theirs is not None, "logits are never too large to cache"
    if teacher.some_images is None:
        return source_drift(comparable, theirs)
    found = {
        "agreement": float((predicted == theirs.argmax(1)).double().mean()),
        "logit_distance": logit_distance(comparable, theirs),
    }
    rows = teacher.some_images.get(Signal("jacobian correct"), every)
    if rows is not None:
        of_teacher = rows[:, 0].double()
        of_student = torch.empty_like(of_teacher)
        for at, part in zip(torch.arange(len(rows)).split(CHUNK), teacher.some.split(CHUNK), strict=True):
            environment.beat()
            y = images.labels[part]
            live = Signals(student, images.read(part), y, teacher.setting, is_student=False)
            of_student[at] = live.jacobian(JacobianRows(maths.correct_rows(y)))[:, 0].double()
            del live
        found["jacobian_distance"] = float((of_student - of_teacher).square().sum(1).mean())
        found["jacobian_cosine"] = float(functional.cosine_similarity(of_student, of_teacher).mean())
    return found


def source_drift(mine: Tensor, theirs: Tensor) -> dict[str, float]:
    """How far the student's head for the teacher's outputs, N×K, is from the teacher's logits, N×K.

    ``source_distance``: mean over images of sum_i (T_i − S_i)². ``source_agreement``: share of images with the same
    largest output. A method that never trains this head leaves it at its start: random, or the pre-trained
    weights that an oracle starts from, under a body that has moved on.
    """
    return {
        "source_distance": logit_distance(mine, theirs),
        "source_agreement": float((mine.argmax(1) == theirs.argmax(1)).double().mean()),
    }


def logit_distance(mine: Tensor, theirs: Tensor) -> float:
    """Mean over images of the squared distance of their logits, both N×K."""
    return float((mine - theirs).double().square().sum(1).mean())
