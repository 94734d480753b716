"""Two stages in one loss: hints for the first third of training, then the labels with a head that was frozen before."""

from jkbench import Method, Weight, attention_loss, cross_entropy


class Staged(Method):
    ce: Weight = 1.0
    hint: Weight = 1.0

    def loss(self, batch, student, teacher):
        if batch.progress <= 1 / 3:
            yield "hint", self.hint * attention_loss(student.attention("last")[0], teacher.attention("last")[0])
        elif batch.progress <= 2 / 3:  # the head alone learns: the body is frozen
            yield "ce", self.ce * cross_entropy(student.classify(student.embedding.detach()), batch.y)
        else:
            yield "ce", self.ce * cross_entropy(student.logits, batch.y)
