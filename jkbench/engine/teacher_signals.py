"""The teacher's signals: each computed once an image by a copy of the teacher that no plugin holds, and cached.

Two axes: ``index`` counts the images of a subset (a batch's are those of the regime), ``positions`` are their places in
the split that the subset was drawn from.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from jkbench.engine import environment
from jkbench.engine.context import Context, SignalSettings
from jkbench.engine.images import ImageSet
from jkbench.engine.precision import products_in
from jkbench.engine.signal_store import CHUNK, Mapped, Positions, SignalStore, Values
from jkbench.engine.signals import Batch, JacobianRows, Peaks, Signals
from jkbench.errors import unknown
from jkbench.models.network import Network, Outputs

CACHE_LIMIT = 2**30
"""Bytes that one cached signal of one subset may take, on disk or on a device; a larger one is computed live."""


@dataclass(frozen=True)
class Signal:
    """A signal of the teacher that depends on the image alone: an estimator, and the teacher's layer and map size."""

    estimator: str
    """``logits``, ``embedding``, ``features`` (``features before``: the activation), ``attention``,
    ``attention-jacobian``, or ``jacobian`` with the rows: ``jacobian top:3``."""
    layer: str = ""
    size: tuple[int, int] = (0, 0)
    """Of the maps: (0, 0) is the layer's own."""

    def __str__(self) -> str:
        return f"{self.estimator} {self.layer} {self.size[0]}×{self.size[1]}" if self.layer else self.estimator

    def of(self, live: Signals) -> Tensor:
        """Its values on one batch, B×…"""
        return _ESTIMATORS[self.estimator.partition(" ")[0]](live, self)

    @property
    def rows(self) -> str:
        """Which rows of the Jacobian; empty for other estimators."""
        return self.estimator.partition(" ")[2]


_ESTIMATORS: dict[str, Callable[[Signals, Signal], Tensor]] = {
    "logits": lambda live, signal: live.logits,
    "embedding": lambda live, signal: live.embedding,
    "features": lambda live, signal: live.features_of(
        signal.layer, signal.size if any(signal.size) else None, signal.estimator == "features before"
    ),
    "attention": lambda live, signal: live.attention_of(signal.layer, signal.size),
    "attention-jacobian": lambda live, signal: live.attention_gradient(signal.layer, signal.size),
    "jacobian": lambda live, signal: live.jacobian(live.rows(signal.rows)),
}


class _TooLarge(Exception):
    """The values on all images would not fit."""


class SignalCache:
    """The teacher's signals on one subset, each computed when first read.

    ``images`` are the whole split and ``positions`` the subset in it; a ``store`` shares the values with other trials
    and processes. ``teacher`` makes the copy that computes them. Batches have one size, so that the bits of an image's
    values depend neither on the trial that asked first nor on the rest of its batch.
    """

    def __init__(
        self,
        teacher: Callable[[], Network],
        images: ImageSet,
        setting: SignalSettings,
        store: SignalStore | None = None,
        positions: Positions | None = None,
    ) -> None:
        self._teacher = teacher
        self._images = images
        self._setting = setting
        self._store = store
        self._positions = np.arange(len(images)) if positions is None else positions
        self._cached: dict[Signal, Tensor | Mapped | None] = {}
        self.seconds = 0.0
        """Spent on computing and reading signals: not part of the training's time."""

    @property
    def written(self) -> bool:
        """Whether something wrote into the images."""
        return self._images.written

    def get(self, signal: Signal, index: Tensor | slice) -> Tensor | None:
        """The values at this index of the subset; None where those of all images are too large to cache."""
        if signal not in self._cached:
            began = time.perf_counter()
            self._cached[signal] = self._obtain(signal)
            self.seconds += time.perf_counter() - began
        cached = self._cached[signal]
        if isinstance(cached, Mapped):
            return torch.from_numpy(cached[index.cpu().numpy() if isinstance(index, Tensor) else index])
        return None if cached is None else cached[index]

    def _obtain(self, signal: Signal) -> Tensor | Mapped | None:
        compute = partial(self._compute, signal)
        try:
            found = compute(self._positions) if self._store is None else self._read(signal, compute)
        except _TooLarge:
            return None
        if isinstance(found, Mapped):
            if self._images.device.type == "cpu":
                return found
            found = found[:]
        return torch.from_numpy(found).to(self._images.device)

    def _read(self, signal: Signal, compute: Callable[[Positions], Values]) -> Values | Mapped:
        assert self._store is not None
        return self._store.signal(signal).obtain(self._positions, compute)

    def _compute(self, signal: Signal, positions: Positions) -> Values:
        if self.written:
            raise RuntimeError("the images were changed in place: no signal is computed on them")
        teacher, parts = self._teacher(), []
        for start in range(0, len(positions), CHUNK):
            environment.beat()
            wanted = positions[start : start + CHUNK]
            padded = torch.from_numpy(np.concatenate([wanted, np.full(CHUNK - len(wanted), wanted[0])]))
            x, y = self._images.read(padded), self._images.labels[padded.to(self._images.device)]
            # a loss may read inside no_grad or autocast: the cached values are those outside
            plain = products_in("float32")
            with torch.enable_grad(), torch.autocast(x.device.type, enabled=False), plain:
                value = signal.of(Signals(teacher, x, y, self._setting, False)).detach()[: len(wanted)]
            if value[:1].nbytes * len(self._positions) > CACHE_LIMIT:
                raise _TooLarge
            parts.append(value.cpu().numpy())
        return np.concatenate(parts)


class TeacherSignals(Signals):
    """The teacher's signals on unchanged images: cached, or live where they depend on more than the image."""

    def __init__(
        self,
        network: Network,
        batch: Batch,
        setting: SignalSettings,
        cache: SignalCache,
        context: Context | None = None,
    ) -> None:
        super().__init__(network, batch.x, batch.y, setting, is_student=False, context=context)
        self._live = Signals(network, batch.x, batch.y, setting, is_student=False)
        self._cache = cache
        self._index = batch.index

    def _get(self, signal: Signal) -> Tensor:
        cached = self._cache.get(signal, self._index)
        return signal.of(self._live) if cached is None else cached

    @property
    def logits(self) -> Tensor:
        """The teacher's logits, B×K."""
        return self._get(Signal("logits"))

    @property
    def teacher_logits(self) -> Tensor:
        """The same as `logits`: the teacher's own."""
        return self.logits

    @property
    def embedding(self) -> Tensor:
        """The pooled features that the head reads, B×d."""
        return self._get(Signal("embedding"))

    def features_of(self, layer: str, size: tuple[int, int] | None = None, before: bool = False) -> Tensor:
        """The feature maps of one layer, B×C×h×w."""
        if layer not in self.layers:
            raise unknown("layer", layer, self.layers)
        return self._get(Signal("features before" if before else "features", layer, size or (0, 0)))

    def gradient(self, value: Callable[[Outputs], Tensor]) -> Tensor:
        """The gradient of any number an image has, live."""
        return self._live.gradient(value)

    def attention_of(self, layer: str, size: tuple[int, int]) -> Tensor:
        """The attention map of one layer, B×h×w."""
        return self._get(Signal("attention", layer, size))

    def jacobian(self, rows: JacobianRows) -> Tensor:
        """Rows of the Jacobian, B×R×D: cached where the rows have a name."""
        if rows.name is None or (rows.name == "correct" and not self._setting.same_labels):
            return self._live.jacobian(rows)
        return self._get(Signal(f"jacobian {rows.name}"))

    def projection(self, directions: Tensor) -> Tensor:
        """∇⟨v, logits⟩ by the inputs, live: the directions are new at every step."""
        return self._live.projection(directions)

    def forward_product(self, directions: Tensor) -> Tensor:
        """J u, live: the directions are new at every step."""
        return self._live.forward_product(directions)

    def attention_jacobian(self, peaks: Peaks) -> list[Tensor]:
        """Gradients of the attention, B×D for each matched layer: cached at the teacher's own peaks."""
        if not peaks.teachers_own:
            return self._live.attention_jacobian(peaks)
        pairs = self._setting.select(peaks.layers)
        return [self._get(Signal("attention-jacobian", pair.teacher, pair.size)) for pair in pairs]
