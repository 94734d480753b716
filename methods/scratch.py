"""Cross-entropy on the regime's images alone: the baseline that knows no teacher.

Formula: CE(y, p_S)
Published: the baseline of every table.
Identity: `distill[act=0]`.
Traps: none.
"""

from jkbench import Method, cross_entropy


class Scratch(Method):
    tasks = {"distillation", "transfer", "robustness"}

    def loss(self, batch, student, teacher):
        yield "ce", cross_entropy(student.logits, batch.y)
