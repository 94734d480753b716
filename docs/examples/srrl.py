"""The teacher's head classifies the student's projected embedding (after Yang et al. 2021, softmax regression)."""

from torch import nn

from jkbench import Method, Weight, cross_entropy, squared_error


class SRRL(Method):
    ce: Weight = 1.0
    regression: Weight = 1.0

    def modules(self, student, teacher):
        return {"projector": nn.Linear(student.embedding.shape[1], teacher.embedding.shape[1])}

    def loss(self, batch, student, teacher):
        yield "ce", self.ce * cross_entropy(student.logits, batch.y)
        logits = teacher.classify(student.modules["projector"](student.embedding))  # no gradient to the head's weights
        yield "regression", self.regression * squared_error(logits, teacher.logits)
