"""Signals: what a loss may read from a network on one batch. Only what is read is computed.

The teacher's signals on unchanged images are cached (`jkbench.engine.teacher_signals`); on changed inputs they are
computed live. A method does not see the difference.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from jkbench import maths
from jkbench.engine.clock import Clock
from jkbench.engine.context import Context, Pair, SignalSettings, Subset
from jkbench.engine.precision import full, in_precision
from jkbench.errors import UserError, unknown
from jkbench.models.batchnorm import batch_norm_statistics, norms, unmoved
from jkbench.models.network import Network, Outputs, norm_before_activation
from jkbench.models.replay import Recording, recorded_again, recording, replayed


@dataclass(frozen=True)
class JacobianRows:
    """Rows of a Jacobian: indices B×R into the logits of one head. Named rows depend on the image alone."""

    index: Tensor
    head: Literal["logits", "teacher_logits"] = "teacher_logits"
    name: str | None = None


@dataclass(frozen=True)
class Peaks:
    """One pixel per sample in each of the matched ``layers``: B indices into each flattened map."""

    pixels: Sequence[Tensor]
    layers: str
    teachers_own: bool = False


@dataclass(frozen=True)
class Batch:
    """The images of one step: normalised B×C×H×W, their labels B, and their index B in the regime's subset."""

    x: Tensor
    y: Tensor
    index: Tensor
    noise: torch.Generator
    """The stream ``noise`` of this trial: the one source of randomness in a method."""
    clock: Clock
    shown: Tensor | None = None
    """What both networks see: what `Method.inputs` made of ``x``."""
    extra: Any = None
    """What `Method.inputs` returned beside that, for the loss."""

    @property
    def step(self) -> int:
        """The number of the step, from 0. A step that reads it cannot be replayed on a GPU: prefer `progress`."""
        return self.clock.step

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return self.clock.steps

    @property
    def progress(self) -> float:
        """Progress of training, (step + 1) / steps: it ends at 1 and is never 0."""
        return self.clock.progress

    @property
    def correct(self) -> JacobianRows:
        """The row of the correct class, in the head that learns the labels."""
        return JacobianRows(maths.correct_rows(self.y), "logits", "correct")


class Signals:
    """Signals of one network on one batch: the student's carry a graph, the teacher's are constants."""

    modules: Mapping[str, nn.Module]

    def __init__(
        self,
        network: Network,
        x: Tensor,
        y: Tensor,
        setting: SignalSettings,
        is_student: bool,
        context: Context | None = None,
        record: bool = True,
        view: bool = False,
    ) -> None:
        """``record``: keep what a Jacobian pass can reuse; without it, a Jacobian costs one more pass.

        A ``view`` is on other images than the step's own: it moves no running statistics.
        """
        self._network = network
        self._x = x.detach().requires_grad_()
        self._y = y
        self._setting = setting
        self._is_student = is_student
        self._record = record
        self._view = view
        self._moved = False
        self._context = context or Context()
        self.modules = self._context.modules
        # of the student as it started, or of a network that an average updates, values are constants too
        self._trained = is_student and any(weight.requires_grad for weight in network.parameters())

    @cached_property
    def _normalises(self) -> bool:
        """Whether the network has batch norm in train mode, which couples the samples."""
        return any(norm.training for norm in norms(self._network))

    @cached_property
    def _pass(self) -> tuple[Outputs, Recording | None]:
        """The one pass that losses on outputs are taken of, and its record where the Jacobian pass has its values."""
        with unmoved(self._network) if self._view else nullcontext():
            return self._passed()

    @in_precision
    def _passed(self) -> tuple[Outputs, Recording | None]:
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
    @in_precision
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

    @in_precision
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
        return full(value if self._trained else value.detach())

    @property
    def logits(self) -> Tensor:
        """Logits for the task's labels, B×k."""
        return self._constant(self._outputs.logits)

    @property
    def teacher_logits(self) -> Tensor:
        """Logits comparable to the teacher's, B×K: from a separate head if labels differ or the method asks for one."""
        return self._constant(self._outputs.teacher_logits)

    @property
    def embedding(self) -> Tensor:
        """The pooled features that the head reads, B×d."""
        return self._constant(self._outputs.embedding)

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of this network's layers, shallow to deep, for `features_of`."""
        return self._network.layers

    def features_of(self, layer: str, size: tuple[int, int] | None = None, before: bool = False) -> Tensor:
        """The feature maps of one layer of this network, B×C×h×w, pooled to ``size`` where one is given.

        ``before``: before its last activation. `UserError` if the layer is unknown or does not end with an activation.
        """
        if layer not in self.layers:
            raise unknown("layer", layer, self.layers)
        maps = self._before if before else self._outputs.maps
        if layer not in maps:
            raise UserError(f"{layer} does not end with an activation", "read its maps without before=True")
        found = self._constant(maps[layer])
        return found if size in (None, found.shape[2:]) else functional.adaptive_avg_pool2d(found, size)

    def features(self, layers: str = "all", before: bool = False) -> list[Tensor]:
        """Feature maps of the matched layers, each B×C×h×w, shallow to deep, pooled as attention is."""
        return [self.features_of(self._layer(pair), pair.size, before) for pair in self._setting.select(layers)]

    def norm_before(self, layers: str = "all") -> list[tuple[Tensor, Tensor]]:
        """For each matched layer, mean and standard deviation by channel, C each, of the output of the batch norm
        before its last activation. `UserError` if there is none."""
        names = [self._layer(pair) for pair in self._setting.select(layers)]
        found = [norm_before_activation(self._network, name) for name in names]
        return [(self._constant(norm.bias), self._constant(norm.weight.abs())) for norm in found]

    @cached_property
    @in_precision
    def _before(self) -> Mapping[str, Tensor]:
        """Maps before the activations: of the pass itself, but for the first time, which takes one more pass."""
        if self._outputs.before is None:
            self._network.keeps_before = True
            with unmoved(self._network):
                return self._network(self._x.detach()).before or {}
        return self._outputs.before

    @property
    def _head(self) -> nn.Linear:
        assert isinstance(self._network.head, nn.Linear)
        return self._network.head

    @property
    def head_weight(self) -> Tensor:
        """The weights of this network's head, K×d."""
        return self._constant(self._head.weight)

    @property
    def head_bias(self) -> Tensor:
        """The biases of this network's head, K."""
        return self._constant(self._head.bias)

    def classify(self, embedding: Tensor) -> Tensor:
        """This network's logits of an embedding B×d. Gradients reach the embedding, but never a teacher's head."""
        width = self._head.in_features
        if embedding.shape[-1] != width:
            raise UserError(
                f"the head takes embeddings of width {width}, not {embedding.shape[-1]}",
                "project them with a module of the method's own",
            )
        return functional.linear(embedding, self.head_weight, self.head_bias)

    def at(self, x: Tensor) -> Signals:
        """The same network on other images B×C×H×W with the same labels: a separate pass and graph.

        Only the step's own images update running statistics.
        """
        if self._normalises and not self._view:
            self._pass  # noqa: B018
        return Signals(self._network, x, self._y, self._setting, self._is_student, self._context, False, view=True)

    def of(self, name: str) -> Signals:
        """The signals of a module that is a network (`twin`), on the same images."""
        network = self.modules[name]
        if not isinstance(network, Network):
            raise UserError(f'the module {name!r} is not a network: return student.twin("{name}") from modules()')
        return Signals(network, self._x, self._y, self._setting, True, self._context)

    def twin(self, name: str | None = None) -> Network:
        """A second network like the student, for `Method.modules`: with its own initial weights, from the stream
        ``name``; without a name, a copy of the student before training."""
        if name is None:
            return copy.deepcopy(self._start()).requires_grad_(True)
        assert self._context.fresh is not None
        return self._context.fresh(name)

    def _start(self) -> Network:
        if self._context.origin is None or not self._is_student:
            raise UserError("a teacher has no start", "read student.origin")
        return self._context.origin()

    @cached_property
    def origin(self) -> Signals:
        """The student before training, in evaluation mode, on the same images: its values are constants."""
        return Signals(self._start(), self._x, self._y, self._setting, True)

    @property
    def weights(self) -> dict[str, Tensor]:
        """This network's weights by name, ``body.…`` and ``head.…``."""
        return {name: self._constant(weight) for name, weight in self._network.named_parameters()}

    @property
    def subset(self) -> Subset:
        """All training images of the trial: their labels, and the teacher's values on them."""
        assert self._context.subset is not None
        return self._context.subset

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

        `UserError` for ``correct`` if the labels are not the teacher's, and for any other value.
        """
        kind, _, count = choice.partition(":")
        # only the teacher's own rows have names: the student's largest output is a different row
        name = None if self._is_student else choice
        if kind == "auto":
            kind = "correct" if self._setting.same_labels else "largest"
            name = name and kind
        if kind == "correct":
            if not self._setting.same_labels:
                raise UserError("the teacher has no output for the correct class", "use rows=largest or rows=auto")
            return JacobianRows(maths.correct_rows(self._y), name=name)
        if kind == "largest":
            return JacobianRows(maths.largest_rows(self.teacher_logits), name=name)
        if kind == "top" and count.isdecimal():
            return JacobianRows(maths.top_rows(self.teacher_logits, int(count)), name=name)
        if kind == "full":
            outputs = self.teacher_logits.shape[1]
            return JacobianRows(torch.arange(outputs, device=self._y.device).expand(len(self._y), -1), name=name)
        raise UserError(f"there are no rows {choice!r}", "use auto, correct, largest, top:J or full")

    def jacobian(self, rows: JacobianRows) -> Tensor:
        """Rows of the Jacobian of the logits with respect to the inputs, B×R×D."""
        if rows.head == "logits" and not self._is_student and not self._setting.same_labels:
            raise UserError("the teacher has no output for the correct class", "use teacher.rows('largest') or 'auto'")
        outputs = getattr(self._jacobian_outputs, rows.head)
        return maths.jacobian_rows(outputs, self._x, rows.index, create_graph=self._trained)

    def gradient(self, value: Callable[[Outputs], Tensor]) -> Tensor:
        """The input gradient, B×D, of any number per image: ``value`` maps `Outputs` to B numbers."""
        found = value(self._jacobian_outputs)
        if found.shape != self._x.shape[:1]:
            raise UserError(
                f"gradient() takes one number per image ({len(self._x)} here), not the shape {tuple(found.shape)}"
            )
        return maths.input_gradient(found, self._x, create_graph=self._trained)

    def projection(self, directions: Tensor) -> Tensor:
        """The input gradient of ⟨v, logits⟩ for one direction v per sample: B×K → B×D."""
        projected = (self._jacobian_outputs.teacher_logits * directions).sum(1)
        return maths.input_gradient(projected, self._x, create_graph=self._trained)

    def forward_product(self, directions: Tensor) -> Tensor:
        """J u: the derivative of the logits along one direction u of each image, B×C×H×W → B×K."""
        outputs = full(self._jacobian_outputs.teacher_logits)
        return maths.jacobian_vector(outputs, self._x, directions, create_graph=self._trained)

    def difference(self, directions: Tensor, step: float) -> Tensor:
        """J u by finite differences, (logits at x + step·u − logits at x) / step: B×C×H×W → B×K."""
        moved = self._outputs_at(self._x.detach() + step * directions)
        return (self._constant(moved.teacher_logits) - self.teacher_logits) / step

    def peaks(self, layers: str = "all") -> Peaks:
        """The pixel of largest attention of this network in each matched layer."""
        pixels = [maths.attention_peak(attention) for attention in self.attention(layers)]
        return Peaks(pixels, layers, teachers_own=not self._is_student)

    def attention_gradient(self, layer: str, size: tuple[int, int], pixel: Tensor | None = None) -> Tensor:
        """The input gradient of the attention in one layer of this network at one pixel per sample, B×D.

        ``pixel``: B indices into the flattened map of ``size``; by default those of the largest attention.
        """
        if pixel is None:
            pixel = maths.attention_peak(self.attention_of(layer, size))
        value = maths.attention_at(_attention(self._jacobian_outputs, layer, size), pixel)
        return maths.input_gradient(value, self._x, create_graph=self._trained)

    def attention_jacobian(self, peaks: Peaks) -> list[Tensor]:
        """Input gradients of the attention at the given pixels, B×D for each matched layer."""
        at = zip(self._setting.select(peaks.layers), peaks.pixels, strict=True)
        return [self.attention_gradient(self._layer(pair), pair.size, pixel) for pair, pixel in at]


def _attention(outputs: Outputs, layer: str, size: tuple[int, int]) -> Tensor:
    attention = maths.attention_map(full(outputs.maps[layer]))
    return attention if attention.shape[1:] == size else functional.adaptive_avg_pool2d(attention[:, None], size)[:, 0]
