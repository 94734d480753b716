"""CRD: tell an image's own embedding from those of other classes (Tian, Krishnan & Isola 2020).

Formula: ce·CE(y, p_S) + crd·⟨−log h(f, m_i) − Σ over negatives j of log(1 − h(f, m_j))⟩, h = e^s/(e^s + N/M), s = ⟨f,
    m⟩/τ; f linear embeddings on the unit sphere of one network, m the memory of the other's, both ways; N negatives
    of M images
Published: weight 0.8, dimension 128, τ = 0.07, N = 16384, momentum 0.5. Per image as it stands.
Here: negatives = 0 takes every image of another class, without drawing: few-shot subsets have fewer than 16384, and
    RepDistiller would draw each many times. h is the paper's; RepDistiller divides e^s by a constant of the first
    batch, which depends on the seed.
Identity: at s = log(N/M) every h is ½: the term is (1 + N)·log 2, each way. With one negative and N = M, both terms
    are logistic losses.
Traps: the term grows with the number of negatives. The teacher's embedding is trained too. Memories start at random
    and are filled in the first epoch.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from jkbench import Method, UserError, Weight, cross_entropy, noise_contrast, normalised


class CRD(Method):
    cite = "tian2020contrastive"
    tasks = {"distillation", "transfer"}
    ranges = {"tau": (0.02, 0.5), "dimension": None, "momentum": None, "negatives": None}

    ce: Weight = 1.0
    crd: Weight = 0.8
    dimension: Annotated[int, Field(ge=1)] = 128
    tau: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.07
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.5
    negatives: Annotated[int, Field(ge=0)] = 0

    def modules(self, student, teacher):
        labels = student.subset.labels
        fewest = len(labels) - int(labels.bincount().max())
        if not fewest or self.negatives > fewest:
            hint = f"take negatives={fewest} or fewer, or 0 for all" if fewest else "take two classes or more"
            raise UserError(f"some image has only {fewest} images of other classes to contrast it with", hint)
        widths = [network.embedding.shape[1] for network in (student, teacher)]
        return {"contrast": Contrast(widths, labels, self.dimension)}

    def loss(self, batch, student, teacher):
        if self.ce:
            yield "ce", self.ce * cross_entropy(student.logits, batch.y)
        if self.crd:
            contrast = student.modules["contrast"]
            others = self.others(batch, contrast.labels)
            mine, theirs = contrast.embedded(student.embedding, teacher.embedding)
            terms = [
                noise_contrast(f @ memory.T / self.tau, batch.index, others)
                for f, memory in ((mine, contrast.theirs), (theirs, contrast.mine))
            ]
            contrast.remember(batch.index, mine.detach(), theirs.detach(), self.momentum)
            yield "crd", self.crd * sum(terms)

    def others(self, batch, labels):
        """Whether image j of the subset is a negative of image i of the batch, B×M."""
        others = labels != batch.y[:, None]
        if not self.negatives:
            return others
        ranks = torch.rand(others.shape, generator=batch.noise, device=others.device) + others
        return torch.zeros_like(others).scatter(1, ranks.topk(self.negatives).indices, True)


class Contrast(nn.Module):
    """Linear embeddings of both networks, and a memory M×dimension of each: buffers."""

    def __init__(self, widths, labels, dimension):
        super().__init__()
        self.linear = nn.ModuleList(nn.Linear(width, dimension) for width in widths)
        self.register_buffer("labels", labels)
        self.register_buffer("mine", normalised(torch.randn(len(labels), dimension)))
        self.register_buffer("theirs", normalised(torch.randn(len(labels), dimension)))

    def embedded(self, *embeddings):
        return [normalised(linear(each)) for linear, each in zip(self.linear, embeddings, strict=True)]

    def remember(self, index, mine, theirs, momentum):
        # new tensors: the step's graph still reads the old ones
        for name, new in (("mine", mine), ("theirs", theirs)):
            memory = getattr(self, name)
            moved = normalised(momentum * memory[index] + (1 - momentum) * new)
            setattr(self, name, memory.index_copy(0, index, moved))
