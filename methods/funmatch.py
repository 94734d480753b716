"""Function matching: distillation on mixed images, without labels (Beyer et al. 2022).

Formula: kd·τ²·⟨KL(p_T^τ ‖ p_S^τ)⟩ on share·x + (1 − share)·x_π, share ~ U(0, 1), π a random permutation
Published: τ = 1 (1, 2, 5 and 10 were tried); mixup at every step; 300 to 10,000 epochs. Per image as it stands.
Here: one share a step, as in the code (which takes the larger of share and 1 − share, and mixes neighbours); both
    networks see the same mixture; the budget of steps stays the task's, so that this is not the "patient" student of
    the paper.
Identity: with share = 1 (or 0) it is `kd[ce=0]` (on permuted images): the loss is a mean over images.
Traps: the teacher's outputs on mixtures are computed at each step. Without labels the head for the labels learns
    nothing where it is not the teacher's: it is not defined on transfer.
"""

from typing import Annotated

import torch
from pydantic import Field

from jkbench import Method, Weight, kl_divergence, mixup


class FunMatch(Method):
    cite = "beyer2022patient"
    tasks = {"distillation"}
    elsewhere = {"transfer": "it uses no labels: a head for labels that the teacher does not know would learn nothing"}
    ranges = {"kd": None, "tau": (1.0, 10.0)}

    kd: Weight = 1.0
    tau: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0

    def inputs(self, batch):
        share = torch.rand(1, generator=batch.noise, device=batch.x.device)
        order = torch.randperm(len(batch.x), generator=batch.noise, device=batch.x.device)
        return mixup(batch.x, share, order)

    def loss(self, batch, student, teacher):
        yield "kd", self.kd * self.tau**2 * kl_divergence(student.teacher_logits, teacher.teacher_logits, self.tau)
