"""The precision of a training step, as its task says (`Task.precision`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from jkbench.errors import UserError
from jkbench.tasks.task import Precision

if TYPE_CHECKING:
    from jkbench.engine.signals import Signals

T = TypeVar("T")


@contextmanager
def products_in(precision: Precision) -> Iterator[None]:
    """Inside, a GPU's products and convolutions take factors of this precision; autocast is the networks' own."""
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before


def check_precision(precision: Precision, where: torch.device) -> None:
    """`UserError` for a precision that the device lacks."""
    if precision == "tf32" and where.type != "cuda":
        raise UserError("precision = tf32 needs a GPU", "use --device cuda, or another precision")


def in_precision(take: Callable[..., T]) -> Callable[..., T]:
    """A student's pass under autocast, where its task says bfloat16."""

    @wraps(take)
    def taken(self: Signals, *given: Tensor) -> T:
        if not self._is_student or self._setting.precision != "bfloat16":
            return take(self, *given)
        with torch.autocast(self._x.device.type, torch.bfloat16, cache_enabled=False):
            return take(self, *given)

    return taken


def full(value: Tensor) -> Tensor:
    """What a pass gives to a loss: in float32 again after bfloat16."""
    return value.float() if value.dtype is torch.bfloat16 else value
