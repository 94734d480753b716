"""Match activations: squared error between the logits of student and teacher (Srinivas & Fleuret 2018, CE + act).

Formula: ce·CE(y, p_S) + act·⟨‖z_T − z_S‖²⟩
Published: both weights 1; the squared error is summed over classes.
Identity: act = 0 is `scratch`.
Traps: a mean over classes, as `mse_loss` takes, would be K times smaller.
"""

from jkbench import Method, Weight, cross_entropy, squared_error


class Distill(Method):
    cite = "srinivas2018jacobian"
    tasks = {"distillation"}
    elsewhere = {"transfer": "matching the teacher's source logits from a head of their own is lwf"}

    ce: Weight = 1.0
    act: Weight = 1.0

    def loss(self, batch, student, teacher):
        if self.ce:
            yield "ce", self.ce * cross_entropy(student.logits, batch.y)
        if self.act:
            yield "act", self.act * squared_error(student.teacher_logits, teacher.teacher_logits)
