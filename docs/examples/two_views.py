"""The student answers a noisy view as it answers the image, and as the teacher answers the view."""

import torch

from jkbench import Deviation, Method, Weight, cross_entropy, squared_error


class TwoViews(Method):
    ce: Weight = 1.0
    act: Weight = 1.0
    same: Weight = 1.0
    sigma: Deviation = 0.3

    def loss(self, batch, student, teacher):
        drawn = torch.randn(batch.x.shape, generator=batch.noise, device=batch.x.device)
        view = batch.x + self.sigma * drawn
        mine, theirs = student.at(view), teacher.at(view)
        yield "ce", self.ce * cross_entropy(student.logits, batch.y)
        yield "same", self.same * squared_error(mine.logits, student.logits)
        yield "act", self.act * squared_error(mine.teacher_logits, theirs.teacher_logits)
