"""What a method is: the whole contract, on one screen.

Nothing here imports torch: a plugin's parameters can be read and checked without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

if TYPE_CHECKING:
    from torch import Tensor, nn

    from jkbench.engine.loop import Loop, Start
    from jkbench.engine.signals import Batch, Signals
    from jkbench.engine.step import Shown
    from jkbench.models.network import Network

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""The weight of a loss term: finite and not negative. The paper's are all 1."""

Deviation = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""A standard deviation, in units of normalised inputs."""


def _shallow_first(depth: object) -> str:
    """``2+1`` and ``1+2`` are one row of a table."""
    parts = str(depth).split("+")
    return "+".join(map(str, sorted(set(map(int, parts))))) if all(p.isdecimal() for p in parts) else str(depth)


DEPTHS = r"^(all|first|middle|last|[1-9]\d*(\+[1-9]\d*)*)$"
Depth = Annotated[str, BeforeValidator(_shallow_first), Field(pattern=DEPTHS)]
"""Which matched layers: ``all``, ``first`` (the shallowest), ``middle``, ``last`` (the deepest), or by number from the
shallowest, ``2`` or ``1+3``."""


class Method(BaseModel):
    """One way of transferring knowledge. Its annotated fields are its parameters.

    The engine owns data, seeds, budget, optimiser, caching and evaluation; a method owns its loss. Signals are
    lazy: what a loss does not read is never computed. A method never sees test images.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    cite: ClassVar[str] = ""
    """Key of the publication, or a short reference."""
    tasks: ClassVar[set[str]] = {"distillation", "transfer"}
    """Kinds of task it is defined on: distillation, transfer, robustness."""
    elsewhere: ClassVar[Mapping[str, str]] = {}
    """Why it is not defined on a kind of task, ``{"transfer": "why"}``, in a sentence for the user."""
    reference: ClassVar[bool] = False
    """Whether it is an upper reference: it sees more data than the rest, is shown apart and is never ranked."""
    unit: ClassVar[str] = "ce"
    """The weight that is never tuned: the others are relative to it (Adam's steps ignore the loss's scale)."""
    separate_head: ClassVar[bool] = False
    """Whether the student has a separate head for the teacher's outputs even if both share their labels."""

    starts_pretrained: ClassVar[bool] = False
    """Whether its `initial` needs a student trained on what the teacher saw; it is skipped where a task has none.

    Without `reference`, it belongs to the fine-tuning family, which is ranked separately."""
    ranges: ClassVar[Mapping[str, tuple[float, float] | tuple[float, float, str] | None]] = {}
    """A parameter's search range: (lowest, highest) on a log scale; (lowest, highest, "linear"); None: never tuned."""
    auxiliary: ClassVar[set[str]] = set()
    """Terms that train only the method's own modules."""
    delayed: ClassVar[set[str]] = set()
    """Terms that may be zero for many steps."""

    def loss(self, batch: Batch, student: Signals, teacher: Signals | None) -> Iterable[tuple[str, Tensor]]:
        """Yield named scalar loss terms, weighted; the engine sums them. ``teacher`` is None in robustness tasks."""
        raise NotImplementedError(f"{type(self).__name__} defines no loss")

    def inputs(self, batch: Batch) -> Shown:
        """What both networks see, B×C×H×W. By default the images; draw noise from ``batch.noise`` alone.

        A second value reaches the loss as ``batch.extra``."""
        return batch.x

    def modules(self, student: Signals, teacher: Signals | None) -> Mapping[str, nn.Module]:
        """The method's own modules (regressors, …) by name: trained with the student, read in ``student.modules``.

        Called once, seeded, with the signals of one batch (a width is ``student.embedding.shape[1]``) and ``subset``.
        """
        return {}

    def deployed(self, student: Network, modules: Mapping[str, nn.Module], teacher: Network | None) -> Network:
        """The network that is scored and counted: the student, or a ``jkbench.Network(body, head)`` made of its parts,
        of the modules and of the parts of a copy of the teacher."""
        return student

    def initial(self, start: Start) -> Mapping[str, Tensor]:
        """The student's initial weights: ``start.state`` unless the method starts elsewhere."""
        return start.state

    def fit(self, loop: Loop) -> None:
        """The whole training, one step per batch: ``for batch, student, teacher in loop: loop.step(terms)``."""
        loop.train(self.loss)
