"""Learning without forgetting with attention-Jacobians (Srinivas & Fleuret 2018, section 5).

Formula: `lwf`, and jac·⟨‖g_T/‖g_T‖ − g_S/‖g_S‖‖⟩, g as in `attention-jacobian`
Published: all weights 1.
Identity: jac = 0 is `lwf`.
Traps: the student is read at the teacher's pixel, not at its own.
"""

from jkbench import Depth, Method, Weight, cross_entropy, distance, normalised, squared_error


class LwFJacobian(Method):
    cite = "srinivas2018jacobian"
    tasks = {"distillation", "transfer"}
    separate_head = True

    ce: Weight = 1.0
    act: Weight = 1.0
    jac: Weight = 1.0
    depth: Depth = "last"

    def loss(self, batch, student, teacher):
        if self.ce:
            yield "ce", self.ce * cross_entropy(student.logits, batch.y)
        if self.act:
            yield "act", self.act * squared_error(student.teacher_logits, teacher.teacher_logits)
        if self.jac:
            peaks = teacher.peaks(self.depth)
            gradients = zip(student.attention_jacobian(peaks), teacher.attention_jacobian(peaks), strict=True)
            yield "jac", self.jac * sum(distance(normalised(mine), normalised(theirs)) for mine, theirs in gradients)
