"""A method's loss on given signals: networks and batches that hold the values a test writes down."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from small_networks import generator
from torch import Tensor

from jkbench.plugins.discovery import discover
from jkbench.plugins.loading import load

LABELS = torch.tensor([0, 2, 1, 3])


def drawn(seed: int, *shape: int) -> Tensor:
    """Numbers in float64 from ``seed``; by default 4 images by 5 classes."""
    return torch.randn(*shape or (4, 5), generator=generator(seed), dtype=torch.float64)


def method(name: str, **parameters: Any) -> Any:
    """A built-in method with these parameters."""
    return load(discover().methods()[name])(**parameters)


def batch(**changes: Any) -> Any:
    """Four labelled images of one pixel, at the end of training."""
    values = {"x": drawn(99, 4, 1, 1, 1), "y": LABELS, "index": torch.arange(4), "noise": generator(0), "progress": 1.0}
    return SimpleNamespace(**{**values, **changes})


def network(logits: Tensor | None = None, **signals: Any) -> Any:
    """Signals with these values; ``logits`` are those of both heads."""
    return SimpleNamespace(logits=logits, teacher_logits=logits, **signals)


def terms(made: Any, student: Any, teacher: Any = None, **changes: Any) -> dict[str, Tensor]:
    """The loss terms by name."""
    return dict(made.loss(batch(**changes), student, teacher))
