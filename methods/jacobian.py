"""Match the teacher's logits and its input Jacobian, one row or several (Srinivas & Fleuret 2018, CE + act + Jac)."""

from typing import Literal

from jkbench import (
    Method,
    Weight,
    cross_entropy,
    normalised,
    projected_match,
    random_directions,
    squared_distance,
    squared_error,
)


class Jacobian(Method):
    """By Proposition 1, ``jac`` = σ² makes the Jacobian term what input noise of deviation σ adds to ``act``."""

    cite = "srinivas2018jacobian"
    tasks = {"distillation", "transfer"}

    ce: Weight = 1.0
    act: Weight = 1.0
    jac: Weight = 1.0
    rows: Literal["auto", "correct", "largest", "top:3", "full", "projection"] = "auto"
    normalise: bool = False

    def loss(self, batch, student, teacher):
        if self.ce:
            yield "ce", self.ce * cross_entropy(student.logits, batch.y)
        if self.act:
            yield "act", self.act * squared_error(student.teacher_logits, teacher.teacher_logits)
        if self.jac and self.rows == "projection":
            outputs = teacher.teacher_logits.shape[1]
            v = random_directions(len(batch.y), outputs, batch.noise)
            yield "jac", self.jac * projected_match(student.projection(v), teacher.projection(v), outputs)
        elif self.jac:
            rows = teacher.rows(self.rows)
            of_student, of_teacher = student.jacobian(rows), teacher.jacobian(rows)
            if self.normalise:
                of_student, of_teacher = normalised(of_student), normalised(of_teacher)
            yield "jac", self.jac * squared_distance(of_student, of_teacher)
