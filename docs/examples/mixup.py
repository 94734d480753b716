"""Distillation on mixed images: both networks see λx + (1 − λ)x', and so do the labels (after Beyer et al. 2022)."""

import torch

from jkbench import Method, Weight, cross_entropy, squared_error


class Mixup(Method):
    ce: Weight = 1.0
    act: Weight = 1.0

    def inputs(self, batch):
        share = torch.rand((), generator=batch.noise, device=batch.x.device)
        other = torch.randperm(len(batch.x), generator=batch.noise, device=batch.x.device)
        return share * batch.x + (1 - share) * batch.x[other], (share, batch.y[other])

    def loss(self, batch, student, teacher):
        share, labels = batch.extra
        mine, theirs = cross_entropy(student.logits, batch.y), cross_entropy(student.logits, labels)
        yield "ce", self.ce * (share * mine + (1 - share) * theirs)
        yield "act", self.act * squared_error(student.teacher_logits, teacher.teacher_logits)
