"""Match the teacher's logits and its input Jacobian, by one of several estimators (Srinivas & Fleuret 2018, CE + act +
Jac).

Formula: ce·CE(y, p_S) + act·⟨‖z_T − z_S‖²⟩ + jac·⟨Σ over rows of ‖∇z_T,i − ∇z_S,i‖²⟩
Published: all weights 1; the correct class on CIFAR-100, directions of the largest output on CIFAR-10.
Identity: `jac` = σ² is what input noise of deviation σ adds to `act` (Proposition 1).
Traps: under batch norm in train mode an output depends on all images of the batch; see [choices](choices.md).
"""

from typing import Annotated, Literal

import torch
from pydantic import Field

from jkbench import (
    Deviation,
    Method,
    Weight,
    cross_entropy,
    normalised,
    random_directions,
    squared_distance,
    squared_error,
)


class Jacobian(Method):
    """By Proposition 1, ``jac`` = σ² makes the Jacobian term what input noise of deviation σ adds to ``act``.

    ``rows`` says what is compared. Rows of the Jacobian: of the ``correct`` class (the paper's, on CIFAR-100), of the
    teacher's ``largest`` output, of its ``top`` outputs, ``full``; ``auto`` is ``correct`` where the labels are the
    teacher's own, else ``largest``. Estimates of the full match, unbiased, from one random direction a step: of the
    outputs (``projection``, k‖∇⟨v, T − S⟩‖²) or of the inputs (``forward``, ‖(J_T − J_S)u‖²); ``differences`` is
    ``forward`` by finite differences of size ``step``, without any second derivative. ``normalise`` compares directions
    (the paper's, on CIFAR-10); ``mean`` divides by how many numbers are compared, as ``mse_loss`` does.
    """

    cite = "srinivas2018jacobian"
    tasks = {"distillation", "transfer"}

    ce: Weight = 1.0
    act: Weight = 1.0
    jac: Weight = 1.0
    rows: Literal["auto", "correct", "largest", "top", "full", "projection", "forward", "differences"] = "auto"
    top: Annotated[int, Field(ge=1)] = 3
    step: Deviation = 0.01
    normalise: bool = False
    mean: bool = False
    ranges = {"step": None}  # of the finite differences alone

    def loss(self, batch, student, teacher):
        if self.ce:
            yield "ce", self.ce * cross_entropy(student.logits, batch.y)
        if self.act:
            yield "act", self.act * squared_error(student.teacher_logits, teacher.teacher_logits)
        if self.jac:
            mine, theirs, factor = self.compared(batch, student, teacher)
            if self.normalise:
                mine, theirs, factor = normalised(mine), normalised(theirs), 1.0
            if self.mean:
                factor = factor / mine[0].numel()
            yield "jac", self.jac * factor * squared_distance(mine, theirs)

    def compared(self, batch, student, teacher):
        """What is compared of student and teacher, B×…, and the factor that makes the estimate unbiased."""
        if self.rows == "projection":
            outputs = teacher.teacher_logits.shape[1]
            v = random_directions(len(batch.y), outputs, batch.noise)
            return student.projection(v), teacher.projection(v), float(outputs)
        if self.rows in ("forward", "differences"):
            u = torch.randn(batch.x.shape, generator=batch.noise, device=batch.x.device)
            if self.rows == "forward":
                return student.forward_product(u), teacher.forward_product(u), 1.0
            return student.difference(u, self.step), teacher.difference(u, self.step), 1.0
        rows = teacher.rows(f"top:{self.top}" if self.rows == "top" else self.rows)
        return student.jacobian(rows), teacher.jacobian(rows), 1.0
