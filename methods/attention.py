"""Attention transfer beside logits (Zagoruyko & Komodakis 2017; Srinivas & Fleuret 2018, CE + act + attention).

Formula: ce·CE(y, p_S) + act·⟨‖z_T − z_S‖²⟩ + attention·Σ over layers of ⟨‖A_T/‖A_T‖ − A_S/‖A_S‖‖⟩, A = Σ over
    channels of F²
Published: all weights 1 (Srinivas & Fleuret); 1000 on the mean over pixels of the squared distance (Zagoruyko &
    Komodakis).
Identity: no change under a scaling of the maps of either network.
Traps: the distance is not squared. On transfer act is that of the head for the teacher's outputs.
"""

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
