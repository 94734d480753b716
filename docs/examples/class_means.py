"""The student's embedding points where the teacher's class means do: memory of the whole subset, in a buffer."""

import torch
from torch import nn
from torch.nn import functional

from jkbench import Method, Weight, cross_entropy


class ClassMeans(Method):
    ce: Weight = 1.0
    direction: Weight = 1.0

    def modules(self, student, teacher):
        labels, values = teacher.subset.labels, teacher.subset.embedding
        memory = nn.Linear(student.embedding.shape[1], values.shape[1])
        memory.register_buffer("means", torch.stack([values[labels == k].mean(0) for k in labels.unique()]))
        return {"memory": memory}

    def loss(self, batch, student, teacher):
        yield "ce", self.ce * cross_entropy(student.logits, batch.y)
        memory = student.modules["memory"]
        cosine = functional.cosine_similarity(memory(student.embedding), memory.means[batch.y], eps=1e-6)
        yield "direction", self.direction * (1 - cosine).mean()
