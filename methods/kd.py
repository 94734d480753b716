"""Knowledge distillation: the teacher's softened outputs are targets (Hinton, Vinyals & Dean 2014).

Formula: ce·CE(y, p_S) + kd·τ²·⟨KL(p_T^τ ‖ p_S^τ)⟩, with p^τ = softmax(z/τ)
Published: τ = 4 with 0.1 CE + 0.9 KD (RepDistiller, mdistiller) or 1 + 1 (SimKD). Per image as it stands.
Here: KL is summed over classes. Code that leaves out `batchmean` (Tf-KD, TAKD) averages over them: its weight is K
    times smaller.
Identity: for τ → ∞, τ²·KL becomes ‖(z_S − mean z_S) − (z_T − mean z_T)‖²/(2K): `distill` centred, over 2K.
Traps: on transfer it acts on the head for the teacher's outputs, as `lwf` does.
"""

from typing import Annotated

from pydantic import Field

from jkbench import Method, Weight, cross_entropy, kl_divergence


class KD(Method):
    cite = "hinton2014distilling"
    tasks = {"distillation", "transfer"}
    ranges = {"tau": (1.0, 20.0)}

    ce: Weight = 0.1
    kd: Weight = 0.9
    tau: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 4.0

    def loss(self, batch, student, teacher):
        if self.ce:
            yield "ce", self.ce * cross_entropy(student.logits, batch.y)
        if self.kd:
            divergence = kl_divergence(student.teacher_logits, teacher.teacher_logits, self.tau)
            yield "kd", self.kd * self.tau**2 * divergence
