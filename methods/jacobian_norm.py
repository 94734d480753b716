"""Penalise the input gradient of the correct-class logit (Srinivas & Fleuret 2018, Prop. 2, robustness table)."""

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
