"""DIST: correlations of the softened outputs, inside an image and along a class (Huang et al. 2022).

Formula: ce·CE(y, p_S) + τ²·[inter·(1 − ⟨ρ(rows of p^τ)⟩) + intra·(1 − mean of ρ(columns of p^τ))]
Published: inter = intra = 2 and τ = 1 on ImageNet (1 and 1 in the code's own defaults), τ = 4 on CIFAR-100. ρ is
    Pearson's correlation; per image, and per class, as it stands.
Here: as published on ImageNet. 1e-8 beside the product of the norms, as in the code: a constant row or column has ρ =
    0.
Identity: no change under a positive affine map of each row of p for `inter`, of each column for `intra`.
Traps: a column correlates B numbers; at one image per class a column has one large entry. On transfer it acts on the
    head for the teacher's outputs.
"""

from typing import Annotated

from pydantic import Field

from jkbench import Method, Weight, correlation, cross_entropy


class DIST(Method):
    cite = "huang2022dist"
    tasks = {"distillation", "transfer"}
    ranges = {"tau": (1.0, 10.0)}

    ce: Weight = 1.0
    inter: Weight = 2.0
    intra: Weight = 2.0
    tau: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0

    def loss(self, batch, student, teacher):
        if self.ce:
            yield "ce", self.ce * cross_entropy(student.logits, batch.y)
        mine, theirs = ((z / self.tau).softmax(1) for z in (student.teacher_logits, teacher.teacher_logits))
        if self.inter:
            yield "inter", self.inter * self.tau**2 * (1 - correlation(mine, theirs).mean())
        if self.intra:
            yield "intra", self.intra * self.tau**2 * (1 - correlation(mine.T, theirs.T).mean())
