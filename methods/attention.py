"""Attention transfer beside logits (Zagoruyko & Komodakis 2017; Srinivas & Fleuret 2018, CE + act + attention)."""

from jkbench import Depth, Method, Weight, attention_loss, cross_entropy, squared_error


class Attention(Method):
    cite = "zagoruyko2017attention"
    tasks = {"distillation", "transfer"}

    ce: Weight = 1.0
    act: Weight = 1.0
    attention: Weight = 1.0
    layers: Depth = "all"

    def loss(self, batch, student, teacher):
        if self.ce:
            yield "ce", self.ce * cross_entropy(student.logits, batch.y)
        if self.act:
            yield "act", self.act * squared_error(student.teacher_logits, teacher.teacher_logits)
        if self.attention:
            maps = zip(student.attention(self.layers), teacher.attention(self.layers), strict=True)
            yield "attention", self.attention * sum(attention_loss(mine, theirs) for mine, theirs in maps)
