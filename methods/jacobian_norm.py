"""Penalise the input gradient of the correct-class logit (Srinivas & Fleuret 2018, Prop. 2, robustness table).

Formula: ce·CE(y, p_S) + norm·⟨‖∇z_S,y‖²⟩
Published: weights 0.01 to 1 (the robustness table).
Identity: `norm` = σ² is what input noise of deviation σ adds to a squared error (Proposition 2).
Traps: it knows no teacher.
"""

from jkbench import Method, Weight, cross_entropy, squared_norm


class JacobianNorm(Method):
    cite = "srinivas2018jacobian"
    tasks = {"distillation", "transfer", "robustness"}

    ce: Weight = 1.0
    norm: Weight = 0.1

    def loss(self, batch, student, teacher):
        if self.ce:
            yield "ce", self.ce * cross_entropy(student.logits, batch.y)
        if self.norm:
            yield "norm", self.norm * squared_norm(student.jacobian(batch.correct))
