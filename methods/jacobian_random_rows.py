"""Random rows of the teacher's Jacobian, new at each step (as Amin et al. 2025 sample them). A control of `jacobian`.

Formula: ce·CE(y, p_S) + act·⟨‖z_T − z_S‖²⟩ + jac·(K/J)·⟨Σ over J random rows of ‖∇z_T,i − ∇z_S,i‖²⟩
Published: Amin et al. match a few random rows of an energy Hessian at each step.
Here: `jacobian`'s squared distance. J different rows are drawn for each image, and K/J makes the sum an unbiased
    estimate of `jacobian[rows=full]`. It is a file of its own so that the records of `jacobian` keep their code.
Identity: the mean over draws is `jacobian[rows=full]`; J ≥ K is equal to it.
Traps: its estimate varies from step to step, the more the fewer rows.
Cost: the teacher's rows are new at each step, so that they are computed, not read from the cache.
"""

from dataclasses import replace
from typing import Annotated

import torch
from pydantic import Field

from jkbench import Method, Weight, cross_entropy, squared_distance, squared_error


class JacobianRandomRows(Method):
    cite = "amin2025hessians"
    tasks = {"distillation", "transfer"}
    ranges = {"count": None}

    ce: Weight = 1.0
    act: Weight = 1.0
    jac: Weight = 1.0
    count: Annotated[int, Field(ge=1)] = 1

    def loss(self, batch, student, teacher):
        if self.ce:
            yield "ce", self.ce * cross_entropy(student.logits, batch.y)
        if self.act:
            yield "act", self.act * squared_error(student.teacher_logits, teacher.teacher_logits)
        if self.jac:
            every = teacher.rows("full")
            ranks = torch.rand(every.index.shape, generator=batch.noise, device=batch.x.device)
            rows = replace(every, index=ranks.argsort(1)[:, : self.count], name=None)
            factor = every.index.shape[1] / rows.index.shape[1]
            yield "jac", self.jac * factor * squared_distance(student.jacobian(rows), teacher.jacobian(rows))
