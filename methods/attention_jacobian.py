"""Attention maps and the input gradient of the teacher's largest attention (Srinivas & Fleuret 2018, section 4.3).

Formula: `attention`, and jac·⟨‖g_T/‖g_T‖ − g_S/‖g_S‖‖⟩, g the gradient by the inputs of the attention at the
    teacher's largest pixel
Published: all weights 1; the Jacobian of one layer.
Identity: no change under a scaling of the gradients of either network.
Traps: the student is read at the teacher's pixel, not at its own.
Cost: the gradients of the student's attention are differentiated again, by its weights.
"""

from jkbench import Depth, Method, Weight, attention_loss, cross_entropy, distance, normalised, squared_error


class AttentionJacobian(Method):
    cite = "srinivas2018jacobian"
    tasks = {"distillation", "transfer"}

    ce: Weight = 1.0
    act: Weight = 1.0
    attention: Weight = 1.0
    jac: Weight = 1.0
    layers: Depth = "all"  # of the attention maps
    depth: Depth = "last"  # of the Jacobian: one layer, as in the paper

    def loss(self, batch, student, teacher):
        if self.ce:
            yield "ce", self.ce * cross_entropy(student.logits, batch.y)
        if self.act:
            yield "act", self.act * squared_error(student.teacher_logits, teacher.teacher_logits)
        if self.attention:
            maps = zip(student.attention(self.layers), teacher.attention(self.layers), strict=True)
            yield "attention", self.attention * sum(attention_loss(mine, theirs) for mine, theirs in maps)
        if self.jac:
            peaks = teacher.peaks(self.depth)  # the student is read at the teacher's pixel, not at its own
            gradients = zip(student.attention_jacobian(peaks), teacher.attention_jacobian(peaks), strict=True)
            yield "jac", self.jac * sum(distance(normalised(mine), normalised(theirs)) for mine, theirs in gradients)
