"""Match the input gradient of the loss (Shao et al. 2021, KDIGA), which needs the teacher's own labels."""

from torch.nn import functional

from jkbench import Method, Weight, cross_entropy, squared_distance


class LossGradient(Method):
    tasks = {"distillation"}
    ce: Weight = 1.0
    match: Weight = 1.0

    def loss(self, batch, student, teacher):
        def entropy(outputs):
            return functional.cross_entropy(outputs.logits, batch.y, reduction="none")

        yield "ce", self.ce * cross_entropy(student.logits, batch.y)
        yield "match", self.match * squared_distance(student.gradient(entropy), teacher.gradient(entropy))
