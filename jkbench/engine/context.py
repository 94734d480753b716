"""What the signals of a trial have in common: its settings, its subset, and what its method has beside the networks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor, nn

from jkbench.errors import UserError
from jkbench.models.network import Network
from jkbench.plugins.method import DEPTHS
from jkbench.tasks.task import Precision


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
    precision: Precision = "float32"

    def select(self, layers: str) -> Sequence[Pair]:
        """The pairs that ``layers`` names (see `Depth`), shallow to deep. `UserError` where one is missing."""
        if not self.pairs:
            raise UserError(
                "student and teacher have no layer of equal size",
                f"name pairs in the task's [matching] layers, with resize = true if sizes differ: {self.layers}",
            )
        middle = self.pairs[(len(self.pairs) - 1) // 2 :][:1]
        named = {"all": self.pairs, "first": self.pairs[:1], "middle": middle, "last": self.pairs[-1:]}
        if layers in named:
            return named[layers]
        if not isinstance(layers, str) or not re.fullmatch(DEPTHS, layers):
            raise UserError(f'there are no layers {layers!r}: write "all", "first", "middle", "last", "2" or "1+3"')
        numbers = sorted({int(number) for number in layers.split("+")})
        if numbers[-1] > len(self.pairs):
            told = ", ".join(f"{at} {pair.student} with {pair.teacher}" for at, pair in enumerate(self.pairs, start=1))
            raise UserError(f"there is no matched layer {numbers[-1]}", f"matched layers: {told}")
        return tuple(self.pairs[number - 1] for number in numbers)


@dataclass(frozen=True)
class Subset:
    """All training images of a trial, in the order of `Batch.index`: their labels N, and one network's values.

    For `Method.modules`, which may keep them in buffers. The images are those before augmentation and `Method.inputs`.
    """

    labels: Tensor
    _read: Callable[[str], Tensor | None] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def logits(self) -> Tensor:
        """The teacher's logits, N×K."""
        return self._of("logits")

    @property
    def embedding(self) -> Tensor:
        """The teacher's embeddings, N×d."""
        return self._of("embedding")

    def _of(self, name: str) -> Tensor:
        if self._read is None:
            raise UserError(
                f"the student has no {name} for the whole subset", "read teacher.subset, or student.subset.labels"
            )
        found = self._read(name)
        if found is None:
            raise UserError(f"the teacher's {name} for all images are too large to cache", "read them batch by batch")
        return found.clone()


class Modules(dict[str, nn.Module]):
    """A method's modules by name. `UserError` for one that it does not have."""

    def __missing__(self, name: str) -> nn.Module:
        raise UserError(
            f"there is no module {name!r}: return it from modules(self, student, teacher), as "
            f'{{"{name}": nn.Linear(…)}}, or as {{"{name}": student.twin("{name}")}} for a second network',
            f"modules() returns {', '.join(self)}" if self else "modules() returns none",
        )


@dataclass(frozen=True)
class Context:
    """What a trial gives its signals beside a network and a batch."""

    modules: Mapping[str, nn.Module] = field(default_factory=Modules)
    subset: Subset | None = None
    origin: Callable[[], Network] | None = None
    """The student before training, in evaluation mode: the same network at every call."""
    fresh: Callable[[str], Network] | None = None
    """A network like the student, with initial weights from a stream of this name."""
