"""The teacher's Jacobian of another image of the batch. A control of `jacobian`.

Formula: ce·CE(y, p_S) + act·⟨‖z_T − z_S‖²⟩ + jac·⟨‖J_T(x_π) − J_S(x)‖²⟩, π moves every image of the batch
Published: not published. The weights are those of `jacobian`.
Here: π is a rotation of the batch by a number drawn at each step: no image keeps its own Jacobian.
Identity: on a batch of equal images and labels it is `jacobian`; ⟨‖J_T(x_π)‖²⟩ is that of `jacobian` on every batch.
Traps: what it gains over `distill` is not knowledge about the image: it is scale, or structure that all images share.
"""

from typing import Literal

import torch

from jkbench import Method, Weight, cross_entropy, normalised, squared_distance, squared_error


class ShuffledJacobian(Method):
    cite = "srinivas2018jacobian"
    tasks = {"distillation", "transfer"}

    ce: Weight = 1.0
    act: Weight = 1.0
    jac: Weight = 1.0
    rows: Literal["auto", "correct", "largest"] = "auto"
    normalise: bool = False

    def loss(self, batch, student, teacher):
        if self.ce:
            yield "ce", self.ce * cross_entropy(student.logits, batch.y)
        if self.act:
            yield "act", self.act * squared_error(student.teacher_logits, teacher.teacher_logits)
        if self.jac:
            rows = teacher.rows(self.rows)
            images = torch.arange(len(batch.y), device=batch.y.device)
            by = torch.randint(1, len(batch.y), (1,), generator=batch.noise, device=batch.y.device)
            mine, theirs = student.jacobian(rows), teacher.jacobian(rows)[(images + by) % len(images)]
            if self.normalise:
                mine, theirs = normalised(mine), normalised(theirs)
            yield "jac", self.jac * squared_distance(mine, theirs)
