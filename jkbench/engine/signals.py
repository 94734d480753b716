"""Signals: what a loss may read of a network on one batch. Nothing is computed that is not asked for.

The teacher's signals on unchanged images are computed once per image and kept; on changed inputs they are computed
live. A method does not see the difference.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from jkbench import maths
from jkbench.engine.images import ImageSet
from jkbench.engine.signal_store import CHUNK, Mapped, Positions, SignalStore, Values
from jkbench.errors import UserError
from jkbench.models.batchnorm import batch_norm_statistics, norms
from jkbench.models.network import Network, Outputs
from jkbench.models.replay import Recording, recorded_again, recording, replayed

CACHE_LIMIT = 2**30
"""Bytes that one kept signal of one subset may take, on disk or on a device; a larger one is computed live."""


@dataclass(frozen=True)
class JacobianRows:
    """Rows of a Jacobian: indices B×R into the logits of one head. Named rows depend on the image alone."""

    index: Tensor
    head: Literal["logits", "teacher_logits"] = "teacher_logits"
    name: str | None = None


@dataclass(frozen=True)
class Peaks:
    """One pixel a sample in each of the matched ``layers``: B indices into each flattened map."""

    pixels: Sequence[Tensor]
    layers: str
    teachers_own: bool = False


@dataclass(frozen=True)
class Batch:
    """The images of one step: normalised B×C×H×W, labels B, and their positions B in the regime's subset."""

    x: Tensor
    y: Tensor
    index: Tensor
    step: int
    noise: torch.Generator
    """The stream ``noise`` of this trial: the one source of randomness in a method."""

    @property
    def correct(self) -> JacobianRows:
        """The row of the correct class, of the head that learns the labels."""
        return JacobianRows(maths.correct_rows(self.y), "logits", "correct")


@dataclass(frozen=True)
class Pair:
    """A student layer and the teacher layer it is matched with; both maps are read at ``size`` (h, w)."""

    student: str
    teacher: str
    size: tuple[int, int]


@dataclass(frozen=True)
class SignalSettings:
    """What the signals of a trial have in common."""

    pairs: tuple[Pair, ...]
    same_labels: bool
    batch_norm: Literal["per-sample", "batch", "running", "constant"]
    layers: str = ""
    """Both networks' layers with their sizes in words, where no pair is matched."""

    def select(self, layers: str) -> Sequence[Pair]:
        """The pairs that ``layers`` names (see `Depth`), shallow to deep. `UserError` where one is missing."""
        if not self.pairs:
            raise UserError(
                "student and teacher have no layer of equal size",
                f"name pairs in the task's [matching] layers, with resize = true where sizes differ: {self.layers}",
            )
        named = {"all": self.pairs, "first": self.pairs[:1], "last": self.pairs[-1:]}
        if layers in named:
            return named[layers]
        numbers = sorted({int(number) for number in layers.split("+")})
        if numbers[-1] > len(self.pairs):
            told = ", ".join(f"{at} {pair.student} with {pair.teacher}" for at, pair in enumerate(self.pairs, start=1))
            raise UserError(f"there is no matched layer {numbers[-1]}", f"matched are {told}")
        return tuple(self.pairs[number - 1] for number in numbers)


class Signals:
    """Signals of one network on one batch: the student's carry a graph, the teacher's are constants."""

    def __init__(
        self,
        network: Network,
        x: Tensor,
        y: Tensor,
        setting: SignalSettings,
        is_student: bool,
        modules: Mapping[str, nn.Module] | None = None,
        record: bool = True,
    ) -> None:
        """``record``: keep what a Jacobian pass can take again; without it, a pass that is asked for costs one more."""
        self._network = network
        self._x = x.detach().requires_grad_()
        self._y = y
        self._setting = setting
        self._is_student = is_student
        self._record = record
        self._moved = False
        self.modules: Mapping[str, nn.Module] = modules or {}

    @cached_property
    def _normalises(self) -> bool:
        """Whether the network has batch norm in train mode, which couples the samples."""
        return any(norm.training for norm in norms(self._network))

    @cached_property
    def _pass(self) -> tuple[Outputs, Recording | None]:
        """The one pass that losses on outputs are taken of, and its record where the Jacobian pass has its values."""
        if not self._normalises or self._setting.batch_norm == "batch":
            return self._network(self._x), None
        if self._setting.batch_norm != "per-sample" or not self._record:
            return self._network(self._x.detach()), None
        with recording(self._network) as kept:
            outputs = self._network(self._x.detach())
        return outputs, kept

    @property
    def _outputs(self) -> Outputs:
        return self._pass[0]

    @cached_property
    def _jacobian_outputs(self) -> Outputs:
        """The pass that Jacobians are taken through: per-sample unless the task asks for coupled batch statistics.

        A network without batch norm in train mode has one pass for both.
        """
        mode = self._setting.batch_norm
        outputs, kept = self._pass  # always taken: it is the pass that running statistics learn from
        if not self._normalises or mode == "batch":
            return outputs
        if mode != "per-sample":
            with batch_norm_statistics(self._network, mode):
                return self._network(self._x)
        with replayed(kept or recorded_again(self._network, self._x.detach()), self._x):
            return self._network(self._x)

    def _outputs_at(self, x: Tensor) -> Outputs:
        """A pass over other images, with the same batch-norm statistics as the Jacobian pass has."""
        mode = self._setting.batch_norm
        self._moved = True
        if not self._normalises:
            return self._network(x)
        if mode != "per-sample":
            with batch_norm_statistics(self._network, mode):
                return self._network(x)
        kept = self._pass[1]
        with replayed(kept or recorded_again(self._network, self._x.detach()), x, values=False):
            return self._network(x)

    @property
    def took_jacobian(self) -> bool:
        """Whether a loss has asked for a pass beside the one of the outputs."""
        return self._moved or "_jacobian_outputs" in self.__dict__

    def _constant(self, value: Tensor) -> Tensor:
        return value if self._is_student else value.detach()

    @property
    def logits(self) -> Tensor:
        """Logits by label, B×k."""
        return self._constant(self._outputs.logits)

    @property
    def teacher_logits(self) -> Tensor:
        """Logits comparable to the teacher's, B×K: a head of their own where labels differ or a method asks for it."""
        return self._constant(self._outputs.teacher_logits)

    def _layer(self, pair: Pair) -> str:
        return pair.student if self._is_student else pair.teacher

    def _map(self, outputs: Outputs, pair: Pair) -> Tensor:
        attention = maths.attention_map(outputs.maps[self._layer(pair)])
        if attention.shape[1:] != pair.size:
            attention = functional.adaptive_avg_pool2d(attention[:, None], pair.size)[:, 0]
        return attention

    def attention(self, layers: str = "all") -> list[Tensor]:
        """Attention maps of the matched layers, each B×h×w, shallow to deep."""
        return [self._constant(self._map(self._outputs, pair)) for pair in self._setting.select(layers)]

    def rows(self, choice: str) -> JacobianRows:
        """Rows to match: ``correct`` class, ``largest`` output of this network, ``top:J``, ``full``, or ``auto``:
        the correct class where the labels are the teacher's own, else its largest output.

        `UserError` for ``correct`` where the labels are not the teacher's, and for any other word.
        """
        kind, _, count = choice.partition(":")
        # only the teacher's own rows are kept by name: the student's largest output is another row
        name = None if self._is_student else choice
        if kind == "auto":
            kind = "correct" if self._setting.same_labels else "largest"
            name = name and kind
        if kind == "correct":
            if not self._setting.same_labels:
                raise UserError(
                    "the teacher has no output for the correct class here", "take rows=largest or rows=auto"
                )
            return JacobianRows(maths.correct_rows(self._y), name=name)
        if kind == "largest":
            return JacobianRows(maths.largest_rows(self.teacher_logits), name=name)
        if kind == "top" and count.isdecimal():
            return JacobianRows(maths.top_rows(self.teacher_logits, int(count)), name=name)
        if kind == "full":
            outputs = self.teacher_logits.shape[1]
            return JacobianRows(torch.arange(outputs, device=self._y.device).expand(len(self._y), -1), name=name)
        raise UserError(f"there are no rows {choice!r}", "auto, correct, largest, top:J, full")

    def jacobian(self, rows: JacobianRows) -> Tensor:
        """Rows of the Jacobian of the logits by the inputs, B×R×D."""
        if rows.head == "logits" and not self._is_student and not self._setting.same_labels:
            raise UserError("the teacher has no output for the correct class", "take teacher.rows('largest') or 'auto'")
        outputs = getattr(self._jacobian_outputs, rows.head)
        return maths.jacobian_rows(outputs, self._x, rows.index, create_graph=self._is_student)

    def projection(self, directions: Tensor) -> Tensor:
        """∇⟨v, logits⟩ by the inputs for one direction v a sample: B×K → B×D."""
        projected = (self._jacobian_outputs.teacher_logits * directions).sum(1)
        return maths.input_gradient(projected, self._x, create_graph=self._is_student)

    def forward_product(self, directions: Tensor) -> Tensor:
        """J u: the derivative of the logits along one direction u of each image, B×C×H×W → B×K."""
        outputs = self._jacobian_outputs.teacher_logits
        return maths.jacobian_vector(outputs, self._x, directions, create_graph=self._is_student)

    def difference(self, directions: Tensor, step: float) -> Tensor:
        """J u by finite differences, (logits at x + step·u − logits at x) / step: B×C×H×W → B×K."""
        moved = self._outputs_at(self._x.detach() + step * directions)
        return (self._constant(moved.teacher_logits) - self.teacher_logits) / step

    def peaks(self, layers: str = "all") -> Peaks:
        """The pixel of largest attention of this network in each matched layer."""
        pixels = [maths.attention_peak(attention) for attention in self.attention(layers)]
        return Peaks(pixels, layers, teachers_own=not self._is_student)

    def attention_jacobian(self, peaks: Peaks) -> list[Tensor]:
        """Gradients by the inputs of the attention at the given pixels, B×D for each matched layer."""
        gradients = []
        for pair, pixel in zip(self._setting.select(peaks.layers), peaks.pixels, strict=True):
            value = maths.attention_at(self._map(self._jacobian_outputs, pair), pixel)
            gradients.append(maths.input_gradient(value, self._x, create_graph=self._is_student))
        return gradients


class _TooLarge(Exception):
    """All images' values of a signal would not fit."""


class SignalCache:
    """The teacher's signals on the images of one subset, each computed once, when first asked for.

    With a ``store`` they are kept for other trials and processes; ``positions`` are then the subset's places in the
    store's set of images. Values are computed in batches of one size, so that an image's are the same to the bit
    whichever trial asks first, and whatever else is in its batch.
    """

    def __init__(
        self,
        network: Network,
        images: ImageSet,
        setting: SignalSettings,
        store: SignalStore | None = None,
        positions: Positions | None = None,
    ) -> None:
        self._network = network
        self._images = images
        self._setting = setting
        self._store = store
        self._positions = np.arange(len(images)) if positions is None else positions
        self._place = {at: place for place, at in enumerate(self._positions.tolist())}
        self._kept: dict[str, Tensor | Mapped | None] = {}
        self.seconds = 0.0
        """Spent on computing and reading signals: no part of the training's time."""

    def get(self, name: str, compute: Callable[[Signals], Tensor], index: Tensor | slice) -> Tensor | None:
        """The signal at these positions of the subset; None where all images' values would be too large to keep."""
        if name not in self._kept:
            began = time.perf_counter()
            self._kept[name] = self._obtain(name, compute)
            self.seconds += time.perf_counter() - began
        kept = self._kept[name]
        if isinstance(kept, Mapped):
            return torch.from_numpy(kept[index.cpu().numpy() if isinstance(index, Tensor) else index])
        return None if kept is None else kept[index]

    def _obtain(self, name: str, compute: Callable[[Signals], Tensor]) -> Tensor | Mapped | None:
        def values(positions: Positions) -> Values:
            return self._compute(compute, [self._place[at] for at in positions.tolist()])

        try:
            found: Values | Mapped
            if self._store is None:
                found = values(self._positions)
            else:
                found = self._store.signal(name).obtain(self._positions, values)
        except _TooLarge:
            return None
        if isinstance(found, Mapped):
            if self._images.device.type == "cpu":
                return found
            found = found[:]
        return torch.from_numpy(found).to(self._images.device)

    def _compute(self, compute: Callable[[Signals], Tensor], places: Sequence[int]) -> Values:
        parts: list[Values] = []
        for start in range(0, len(places), CHUNK):
            wanted = list(places[start : start + CHUNK])
            padded = torch.tensor(wanted + wanted[:1] * (CHUNK - len(wanted)), device=self._images.device)
            x, y = self._images.read(padded), self._images.labels[padded]
            value = compute(Signals(self._network, x, y, self._setting, False)).detach()[: len(wanted)]
            if value[:1].nbytes * len(self._images) > CACHE_LIMIT:
                raise _TooLarge
            parts.append(value.cpu().numpy())
        return np.concatenate(parts)


class TeacherSignals(Signals):
    """The teacher's signals on images as they are: read from the cache by position, live where it keeps none."""

    def __init__(self, network: Network, batch: Batch, setting: SignalSettings, cache: SignalCache) -> None:
        super().__init__(network, batch.x, batch.y, setting, is_student=False)
        self._live = Signals(network, batch.x, batch.y, setting, is_student=False)
        self._cache = cache
        self._index = batch.index

    def _get(self, name: str, compute: Callable[[Signals], Tensor]) -> Tensor:
        kept = self._cache.get(name, compute, self._index)
        return compute(self._live) if kept is None else kept

    @property
    def logits(self) -> Tensor:
        """The teacher's logits, B×K."""
        return self._get("logits", lambda live: live.logits)

    @property
    def teacher_logits(self) -> Tensor:
        """The same as `logits`: the teacher's own."""
        return self.logits

    def attention(self, layers: str = "all") -> list[Tensor]:
        """Attention maps of the matched layers, each B×h×w."""
        pairs = self._setting.pairs

        def one(at: int) -> Callable[[Signals], Tensor]:
            return lambda live: live.attention("all")[at]

        return [self._get(f"attention {pair}", one(pairs.index(pair))) for pair in self._setting.select(layers)]

    def jacobian(self, rows: JacobianRows) -> Tensor:
        """Rows of the Jacobian, B×R×D: kept where the rows bear a name."""
        name = rows.name
        if name is None or (name == "correct" and not self._setting.same_labels):
            return self._live.jacobian(rows)
        return self._get(f"jacobian {name}", lambda live: live.jacobian(live.rows(name)))

    def projection(self, directions: Tensor) -> Tensor:
        """∇⟨v, logits⟩ by the inputs, live: the directions are new at every step."""
        return self._live.projection(directions)

    def forward_product(self, directions: Tensor) -> Tensor:
        """J u, live: the directions are new at every step."""
        return self._live.forward_product(directions)

    def attention_jacobian(self, peaks: Peaks) -> list[Tensor]:
        """Gradients of the attention, B×D for each matched layer: kept where the peaks are the teacher's own."""
        if not peaks.teachers_own:
            return self._live.attention_jacobian(peaks)

        def one(pair: Pair) -> Callable[[Signals], Tensor]:
            at = self._setting.pairs.index(pair)
            return lambda live: live.attention_jacobian(live.peaks("all"))[at]

        return [self._get(f"attention-jacobian {pair}", one(pair)) for pair in self._setting.select(peaks.layers)]
