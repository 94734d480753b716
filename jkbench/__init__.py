"""jkbench: the reference benchmark for knowledge transfer with little data.

What a plugin needs is here: ``from jkbench import Method, Weight, cross_entropy, …``. Names are loaded when they
are first asked for, so that ``import jkbench`` takes no time and needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Method": "jkbench.plugins.method",
    "Weight": "jkbench.plugins.method",
    "Deviation": "jkbench.plugins.method",
    "Depth": "jkbench.plugins.method",
    "Network": "jkbench.models.network",
    "Dataset": "jkbench.plugins.dataset",
    "Split": "jkbench.data.arrays",
    "carve": "jkbench.data.arrays",
    "prepared": "jkbench.data.prepared",
    "drawn": "jkbench.data.photographs",
    "photographs": "jkbench.data.photographs",
    "of_torchvision": "jkbench.data.download",
    "files_of_torchvision": "jkbench.data.download",
    "downloaded": "jkbench.data.download",
    "labels_of": "jkbench.data.download",
    "unpacked": "jkbench.data.download",
    "with_validation": "jkbench.data.prepared",
    "UserError": "jkbench.errors",
    **dict.fromkeys(("gains", "leaderboard", "plan", "predictions", "results", "run", "tune"), "jkbench.api"),
    **dict.fromkeys(
        (
            "angles",
            "attention_at",
            "attention_loss",
            "attention_map",
            "attention_peak",
            "class_activation",
            "correlation",
            "cross_entropy",
            "decoupled",
            "distance",
            "huber",
            "kl_divergence",
            "mixup",
            "noise_contrast",
            "normalised",
            "random_directions",
            "relative_distances",
            "similarity",
            "squared_distance",
            "squared_error",
            "squared_norm",
            "standardised",
        ),
        "jkbench.maths",
    ),
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'jkbench' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


if TYPE_CHECKING:
    from jkbench.api import gains as gains
    from jkbench.api import leaderboard as leaderboard
    from jkbench.api import plan as plan
    from jkbench.api import predictions as predictions
    from jkbench.api import results as results
    from jkbench.api import run as run
    from jkbench.api import tune as tune
    from jkbench.data.arrays import Split as Split
    from jkbench.data.arrays import carve as carve
    from jkbench.data.download import downloaded as downloaded
    from jkbench.data.download import files_of_torchvision as files_of_torchvision
    from jkbench.data.download import labels_of as labels_of
    from jkbench.data.download import of_torchvision as of_torchvision
    from jkbench.data.download import unpacked as unpacked
    from jkbench.data.photographs import drawn as drawn
    from jkbench.data.photographs import photographs as photographs
    from jkbench.data.prepared import prepared as prepared
    from jkbench.data.prepared import with_validation as with_validation
    from jkbench.errors import UserError as UserError
    from jkbench.maths import angles as angles
    from jkbench.maths import attention_at as attention_at
    from jkbench.maths import attention_loss as attention_loss
    from jkbench.maths import attention_map as attention_map
    from jkbench.maths import attention_peak as attention_peak
    from jkbench.maths import class_activation as class_activation
    from jkbench.maths import correlation as correlation
    from jkbench.maths import cross_entropy as cross_entropy
    from jkbench.maths import decoupled as decoupled
    from jkbench.maths import distance as distance
    from jkbench.maths import huber as huber
    from jkbench.maths import kl_divergence as kl_divergence
    from jkbench.maths import mixup as mixup
    from jkbench.maths import noise_contrast as noise_contrast
    from jkbench.maths import normalised as normalised
    from jkbench.maths import random_directions as random_directions
    from jkbench.maths import relative_distances as relative_distances
    from jkbench.maths import similarity as similarity
    from jkbench.maths import squared_distance as squared_distance
    from jkbench.maths import squared_error as squared_error
    from jkbench.maths import squared_norm as squared_norm
    from jkbench.maths import standardised as standardised
    from jkbench.models.network import Network as Network
    from jkbench.plugins.dataset import Dataset as Dataset
    from jkbench.plugins.method import Depth as Depth
    from jkbench.plugins.method import Deviation as Deviation
    from jkbench.plugins.method import Method as Method
    from jkbench.plugins.method import Weight as Weight
