"""Decoupled distillation: the label against the rest, and the rest alone, each with a weight (Zhao et al. 2022).

Formula: ce·CE(y, p_S) + warm·τ²·[target·⟨KL(b_T ‖ b_S)⟩ + others·⟨KL(p̂_T ‖ p̂_S)⟩], b = (p_y, 1 − p_y) at τ, p̂ =
    softmax(z/τ) without class y, warm = min(progress/warmup, 1)
Published: target = 1, τ = 4, others = 8 (ResNet-32x4 to 8x4; 2 for ResNet-56 to 20), warm-up over 20 of 240 epochs.
    Per image as it stands.
Here: as published for ResNet-32x4. In logarithms throughout, where the code adds probabilities and masks logits by
    −1000.
Identity: at τ = 1, KL(p_T ‖ p_S) = KL(b_T ‖ b_S) + (1 − p_T,y)·KL(p̂_T ‖ p̂_S) for each image.
Traps: it needs the teacher's output for the label: it is not defined on transfer. With two classes the second term is
    zero.
"""

from typing import Annotated

from pydantic import Field

from jkbench import Method, Weight, cross_entropy, decoupled, kl_divergence


class DKD(Method):
    cite = "zhao2022decoupled"
    tasks = {"distillation"}
    elsewhere = {"transfer": "it needs the teacher's output for the label, and the teacher knows other labels"}
    ranges = {"tau": (1.0, 20.0), "warmup": None}

    ce: Weight = 1.0
    target: Weight = 1.0
    others: Weight = 8.0
    tau: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 4.0
    warmup: Annotated[float, Field(ge=0, le=1)] = 1 / 12

    def loss(self, batch, student, teacher):
        if self.ce:
            yield "ce", self.ce * cross_entropy(student.logits, batch.y)
        mine = decoupled(student.teacher_logits, batch.y, self.tau)
        theirs = decoupled(teacher.teacher_logits, batch.y, self.tau)
        warm = min(batch.progress / self.warmup, 1.0) if self.warmup else 1.0
        if self.target:
            yield "target", self.target * warm * self.tau**2 * kl_divergence(mine[0], theirs[0])
        if self.others:
            yield "others", self.others * warm * self.tau**2 * kl_divergence(mine[1], theirs[1])
