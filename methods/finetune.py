"""The oracle: the student network first trained on all that the teacher saw, then fine-tuned on the regime's images."""

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
