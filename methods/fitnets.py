"""FitNets: a regressor on the student's maps predicts the teacher's maps (Romero et al. 2015).

Formula: ce·CE(y, p_S) + hint·⟨mean over C·h·w of (r(F_S) − F_T)²⟩ at each of `layers`, r a 1×1 convolution
Published: one middle layer (the third of five in RepDistiller); the hint alone in a first stage, then distillation.
    RepDistiller trains both at once, with weight 100 on the mean over all elements.
Here: 100 on an image's mean over its map, the same number (as a sum over 64×16×16 it is 0.0061). r is linear as in
    the paper; RepDistiller adds batch norm and ReLU. `stage` is the share of training that sees the hint alone, 0 as
    in RepDistiller.
Identity: hint = 0 is `scratch`. The term is zero where F_T is a linear map, channel by channel, of F_S and r is that
    map.
Traps: the regressor inherits the student's optimiser. Layers are matched by the task; different sizes are pooled.
"""

from typing import Annotated

from pydantic import Field
from torch import nn
from torch.nn import functional

from jkbench import Depth, Method, Weight, cross_entropy


class FitNets(Method):
    cite = "romero2015fitnets"
    tasks = {"distillation", "transfer"}
    ranges = {"hint": (1e-2, 1e4), "stage": (0.0, 0.5, "linear")}

    ce: Weight = 1.0
    hint: Weight = 100.0
    layers: Depth = "middle"
    stage: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def modules(self, student, teacher):
        pairs = zip(student.features(self.layers), teacher.features(self.layers), strict=True)
        return {"r": nn.ModuleList(nn.Conv2d(mine.shape[1], theirs.shape[1], 1) for mine, theirs in pairs)}

    def loss(self, batch, student, teacher):
        if self.ce and batch.progress > self.stage:
            yield "ce", self.ce * cross_entropy(student.logits, batch.y)
        if self.hint:
            at = zip(student.modules["r"], student.features(self.layers), teacher.features(self.layers), strict=True)
            yield "hint", self.hint * sum(functional.mse_loss(r(mine), theirs) for r, mine, theirs in at)
