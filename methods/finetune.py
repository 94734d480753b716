"""The oracle: the student network first trained on all that the teacher saw, then fine-tuned on the regime's images.

Formula: CE(y, p_S)
Published: the oracle of the paper's tables.
Identity: from the seed's own weights it is `scratch`.
Traps: its start has seen more images than the other methods'.
"""

from jkbench import Method, cross_entropy


class Finetune(Method):
    """An upper reference: it sees more data than the rest, so it is shown apart and never ranked."""

    cite = "srinivas2018jacobian"
    tasks = {"distillation", "transfer"}
    reference = True
    starts_pretrained = True

    def initial(self, start):
        return start.pretrained()

    def loss(self, batch, student, teacher):
        yield "ce", cross_entropy(student.logits, batch.y)
