"""Cross-entropy on the regime's images alone: the baseline that knows no teacher."""

from jkbench import Method, cross_entropy


class Scratch(Method):
    tasks = {"distillation", "transfer", "robustness"}

    def loss(self, batch, student, teacher):
        yield "ce", cross_entropy(student.logits, batch.y)
