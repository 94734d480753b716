"""Learning without forgetting: a head of its own keeps the teacher's outputs on the new images (Li & Hoiem 2016).

Formula: ce·CE(y, p_S) + act·⟨‖z_T − z_S‖²⟩ on a head of its own
Published: both weights 1 (Srinivas & Fleuret); Li & Hoiem take distillation at τ = 2.
Identity: on labels of the teacher's own it is `distill` but for the second head.
Traps: the second head is not part of the deployed network.
"""

from jkbench import Method, Weight, cross_entropy, squared_error


class LwF(Method):
    """As Srinivas & Fleuret 2018 use it, section 5: squared error on the source head, on target images only."""

    cite = "li2016lwf"
    tasks = {"distillation", "transfer"}
    separate_head = True

    ce: Weight = 1.0
    act: Weight = 1.0

    def loss(self, batch, student, teacher):
        if self.ce:
            yield "ce", self.ce * cross_entropy(student.logits, batch.y)
        if self.act:
            yield "act", self.act * squared_error(student.teacher_logits, teacher.teacher_logits)
