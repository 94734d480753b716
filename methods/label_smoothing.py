"""Label smoothing: cross-entropy with a share of the label spread over all classes (Szegedy et al. 2016). A control.

Formula: CE((1 − alpha)·e_y + alpha/K, p_S)
Published: alpha = 0.1. Per image as it stands.
Here: alpha/K for every class, the label included, as published; the code of Tf-KD gives alpha/(K − 1) to the others
    alone.
Identity: (1 − alpha)·CE(y, p_S) + alpha·CE(uniform, p_S); alpha = 0 is `scratch`.
Traps: it knows no teacher. It asks whether distillation with few images is more than smooth labels.
"""

from typing import Annotated

from pydantic import Field
from torch.nn import functional

from jkbench import Method


class LabelSmoothing(Method):
    cite = "szegedy2016rethinking"
    tasks = {"distillation", "transfer", "robustness"}
    ranges = {"alpha": (0.01, 0.5)}

    alpha: Annotated[float, Field(ge=0, lt=1)] = 0.1

    def loss(self, batch, student, teacher):
        yield "ce", functional.cross_entropy(student.logits, batch.y, label_smoothing=self.alpha)
