"""Which student layer is matched with which teacher layer."""

from __future__ import annotations

import torch
from torch import Tensor

from jkbench.engine.context import Pair, SignalSettings
from jkbench.errors import Collector, UserError, unknown
from jkbench.models.network import Network
from jkbench.tasks.task import Matching, Task


def sizes(network: Network, image: Tensor) -> dict[str, tuple[int, int]]:
    """Height and width of every feature map, shallow to deep."""
    training = network.training
    network.eval()
    with torch.no_grad():
        maps = network(image.to(next(network.parameters()).device)).maps
    network.train(training)
    return {name: (value.shape[2], value.shape[3]) for name, value in maps.items()}


def setting(student: Network, teacher: Network | None, task: Task, image: Tensor) -> SignalSettings:
    """What the signals of a task's trials have in common. ``image`` is any one image, 1×C×H×W."""
    pairs = () if teacher is None else matched_layers(student, teacher, task.matching, image)
    layers = ""
    if teacher is not None and not pairs:
        layers = f"the student has {_told(sizes(student, image))}; the teacher has {_told(sizes(teacher, image))}"
    return SignalSettings(pairs, task.family.same_labels, task.matching.batch_norm, layers, task.precision)


def _told(sizes: dict[str, tuple[int, int]]) -> str:
    return ", ".join(f"{name} {height}×{width}" for name, (height, width) in sizes.items())


def matched_layers(student: Network, teacher: Network, matching: Matching, image: Tensor) -> tuple[Pair, ...]:
    """The pairs that the task names, or the deepest layers of each spatial size that both networks have.

    ``image`` is any one image, 1×C×H×W. Maps of 1×1 are never matched: normalised, the attention of one pixel is always
    1. `UserError` for a named layer that is not there or has such a map, and for sizes that differ without ``resize``.
    Empty where the networks share no size and the task names no pair.
    """
    ours, theirs = sizes(student, image), sizes(teacher, image)
    if matching.layers is None:
        deepest_ours = {size: name for name, size in ours.items()}
        deepest_theirs = {size: name for name, size in theirs.items()}
        return tuple(
            Pair(name, deepest_theirs[size], size)
            for size, name in deepest_ours.items()
            if size in deepest_theirs and size != (1, 1)
        )
    pairs = []
    with Collector() as problems:
        for mine, other in matching.layers:
            if mine not in ours:
                problems.add(unknown("student layer", mine, ours))
            elif other not in theirs:
                problems.add(unknown("teacher layer", other, theirs))
            elif (1, 1) in (ours[mine], theirs[other]):
                one = mine if ours[mine] == (1, 1) else other
                problems.add(
                    UserError(
                        f"layer {one} has a map of 1×1: normalised, its attention is always 1",
                        "name a layer with a larger map in the task's [matching]",
                    )
                )
            elif ours[mine] != theirs[other] and not matching.resize:
                problems.add(
                    UserError(
                        f"layers {mine} {ours[mine]} and {other} {theirs[other]} differ in size",
                        "set resize = true in the task's [matching], or name layers of one size",
                    )
                )
            else:
                smaller = min(ours[mine], theirs[other])
                pairs.append(Pair(mine, other, smaller))
    return tuple(pairs)
