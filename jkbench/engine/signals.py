"""Signals: what a loss may read of a network on one batch. Only what is read is computed.

The teacher's signals on unchanged images are cached (`jkbench.engine.teacher_signals`); on changed inputs they are
computed live. A method does not see the difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from jkbench import maths
from jkbench.errors import UserError
from jkbench.models.batchnorm import batch_norm_statistics, norms
from jkbench.models.network import Network, Outputs
from jkbench.models.replay import Recording, recorded_again, recording, replayed


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
    """The images of one step: normalised B×C×H×W, their labels B, and their index B in the regime's subset."""

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
        """``record``: keep what a Jacobian pass can reuse; without it, a Jacobian costs one more pass."""
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
        with recording(self._network) as recorded:
            outputs = self._network(self._x.detach())
        return outputs, recorded

    @property
    def _outputs(self) -> Outputs:
        return self._pass[0]

    @cached_property
    def _jacobian_outputs(self) -> Outputs:
        """The pass that Jacobians are taken through: per-sample unless the task asks for coupled batch statistics.

        Without batch norm in train mode, one pass serves both.
        """
        mode = self._setting.batch_norm
        outputs, recorded = self._pass  # always taken: running statistics learn from this pass
        if not self._normalises or mode == "batch":
            return outputs
        if mode != "per-sample":
            with batch_norm_statistics(self._network, mode):
                return self._network(self._x)
        with replayed(recorded or recorded_again(self._network, self._x.detach()), self._x):
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
        recorded = self._pass[1] or recorded_again(self._network, self._x.detach())
        with replayed(recorded, x, values=False):
            return self._network(x)

    @property
    def took_jacobian(self) -> bool:
        """Whether a loss needed another pass beside that of the outputs."""
        return self._moved or "_jacobian_outputs" in self.__dict__

    def _constant(self, value: Tensor) -> Tensor:
        return value if self._is_student else value.detach()

    @property
    def logits(self) -> Tensor:
        """Logits by label, B×k."""
        return self._constant(self._outputs.logits)

    @property
    def teacher_logits(self) -> Tensor:
        """Logits comparable to the teacher's, B×K: of a separate head where labels differ or a method asks for one."""
        return self._constant(self._outputs.teacher_logits)

    def _layer(self, pair: Pair) -> str:
        return pair.student if self._is_student else pair.teacher

    def attention_of(self, layer: str, size: tuple[int, int]) -> Tensor:
        """The attention map of one layer of this network, B×h×w, pooled to ``size``."""
        return self._constant(_attention(self._outputs, layer, size))

    def attention(self, layers: str = "all") -> list[Tensor]:
        """Attention maps of the matched layers, each B×h×w, shallow to deep."""
        return [self.attention_of(self._layer(pair), pair.size) for pair in self._setting.select(layers)]

    def rows(self, choice: str) -> JacobianRows:
        """Rows to match: ``correct`` class, ``largest`` output of this network, ``top:J``, ``full``, or ``auto``:
        the correct class where the labels are the teacher's own, else its largest output.

        `UserError` for ``correct`` where the labels are not the teacher's, and for any other word.
        """
        kind, _, count = choice.partition(":")
        # only the teacher's own rows have names: the student's largest output is a different row
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
        raise UserError(f"there are no rows {choice!r}", "take auto, correct, largest, top:J or full")

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

    def attention_gradient(self, layer: str, size: tuple[int, int], pixel: Tensor | None = None) -> Tensor:
        """The gradient by the inputs of the attention in one layer of this network at one pixel a sample, B×D.

        ``pixel``: B indices into the flattened map of ``size``; by default those of the largest attention.
        """
        if pixel is None:
            pixel = maths.attention_peak(self.attention_of(layer, size))
        value = maths.attention_at(_attention(self._jacobian_outputs, layer, size), pixel)
        return maths.input_gradient(value, self._x, create_graph=self._is_student)

    def attention_jacobian(self, peaks: Peaks) -> list[Tensor]:
        """Gradients by the inputs of the attention at the given pixels, B×D for each matched layer."""
        at = zip(self._setting.select(peaks.layers), peaks.pixels, strict=True)
        return [self.attention_gradient(self._layer(pair), pair.size, pixel) for pair, pixel in at]


def _attention(outputs: Outputs, layer: str, size: tuple[int, int]) -> Tensor:
    attention = maths.attention_map(outputs.maps[layer])
    return attention if attention.shape[1:] == size else functional.adaptive_avg_pool2d(attention[:, None], size)[:, 0]
