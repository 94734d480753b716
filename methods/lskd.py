"""Logit standardisation: distillation of logits whose mean and deviation are removed (Sun et al. 2024).

Formula: ce·CE(y, p_S) + kd·τ²·⟨KL(p_T' ‖ p_S')⟩, with p' = softmax(z'/τ), z' = (z − mean z)/(std z + 1e-7)
Published: τ = 2, 0.1 CE + 9 KD. Per image as it stands.
Here: as published; the deviation has K − 1. The cross-entropy takes the logits as they are.
Identity: the KD term does not change under z → a·z + b, a > 0, of either network.
Traps: the student's scale is free, so that its calibration may be anything. On transfer the KD term acts on the head
    for the teacher's outputs.
"""

from typing import Annotated

from pydantic import Field

from jkbench import Method, Weight, cross_entropy, kl_divergence, standardised


class LSKD(Method):
    cite = "sun2024logit"
    tasks = {"distillation", "transfer"}
    ranges = {"tau": (1.0, 10.0)}

    ce: Weight = 0.1
    kd: Weight = 9.0
    tau: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 2.0

    def loss(self, batch, student, teacher):
        if self.ce:
            yield "ce", self.ce * cross_entropy(student.logits, batch.y)
        if self.kd:
            mine, theirs = standardised(student.teacher_logits), standardised(teacher.teacher_logits)
            yield "kd", self.kd * self.tau**2 * kl_divergence(mine, theirs, self.tau)
