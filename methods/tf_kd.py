"""Teacher-free distillation: a teacher made by hand, right with one probability (Yuan et al. 2020). A control.

Formula: ce·CE(y, p_S) + kd·τ²·⟨KL(p_D^τ ‖ p_S^τ)⟩, p_D(y) = correct, p_D(other) = (1 − correct)/(K − 1)
Published: correct = 0.99, τ = 20 (20 to 40), 0.9 CE + 0.1 KD, without τ².
Here: τ² as in `kd`, so that a weight means the same in both. The code softens p_D as if its probabilities were
    logits, which gives a uniform target; it does not soften p_S, and it averages over classes.
Identity: at τ = 1 the gradient of KL is that of label smoothing with alpha = (1 − correct)·K/(K − 1).
Traps: it knows no teacher; every image of a class has one target.
"""

import math
from typing import Annotated

from pydantic import Field
from torch.nn import functional

from jkbench import Method, Weight, cross_entropy, kl_divergence


class TfKD(Method):
    cite = "yuan2020revisiting"
    tasks = {"distillation", "transfer", "robustness"}
    ranges = {"tau": (1.0, 40.0), "correct": (0.8, 0.999, "linear")}

    ce: Weight = 0.9
    kd: Weight = 0.1
    correct: Annotated[float, Field(gt=0, lt=1)] = 0.99
    tau: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 20.0

    def loss(self, batch, student, teacher):
        if self.ce:
            yield "ce", self.ce * cross_entropy(student.logits, batch.y)
        if self.kd:
            classes = student.logits.shape[1]
            odds = self.correct * (classes - 1) / (1 - self.correct)
            by_hand = math.log(odds) * functional.one_hot(batch.y, classes)
            yield "kd", self.kd * self.tau**2 * kl_divergence(student.logits, by_hand, self.tau)
