"""The student agrees with an average of its own past weights (Tarvainen & Valpola 2017, mean teacher)."""

from typing import Annotated

import torch
from pydantic import Field

from jkbench import Method, Weight, cross_entropy, squared_error


class MeanTeacher(Method):
    delayed = {"agree"}  # at the first step both are one network
    ce: Weight = 1.0
    agree: Weight = 0.1
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.99

    def modules(self, student, teacher):
        return {"mean": student.twin().requires_grad_(False)}

    def loss(self, batch, student, teacher):
        yield "ce", self.ce * cross_entropy(student.logits, batch.y)
        yield "agree", self.agree * squared_error(student.logits, student.of("mean").logits)
        with torch.no_grad():
            for mean, now in zip(student.modules["mean"].parameters(), student.weights.values(), strict=True):
                mean.lerp_(now, 1 - self.decay)
