"""e²KD: distillation, and the same explanation of the teacher's class (Parchami-Araghi et al. 2024).

Formula: kd·τ²·⟨KL(p_T^τ ‖ p_S^τ)⟩ + explanation·(1 − ⟨cos(E_T, E_S)⟩), E of the teacher's largest output c: Grad-CAM,
    ReLU(Σ_j w_cj·F_j) of the last maps F, or by = gradient the gradient of z_c by the inputs; + ce·CE(y, p_S)
Published: explanation in {0.2, 1, 5, 10} and τ in {1, 5}, chosen by task; no cross-entropy. Per image as it stands.
Here: 1 and τ = 1. Below global average pooling a linear head makes Grad-CAM a sum of maps by the head's weights: no
    second derivative. Both maps are resized to the image, as in the code.
Identity: by = gradient is half of `jacobian[rows=largest, normalise=true]`'s term: ‖n_T − n_S‖² = 2(1 − cos). No
    change under scaling of E.
Traps: a zero explanation has cos 0 and no gradient. Grad-CAM needs a head that reads the last map: other networks are
    refused, take by = gradient. No labels: not defined on transfer.
"""

from typing import Annotated, Literal

from pydantic import Field
from torch.nn import functional

from jkbench import Method, UserError, Weight, class_activation, cross_entropy, kl_divergence, normalised


class E2KD(Method):
    cite = "parchami2024good"
    tasks = {"distillation"}
    elsewhere = {"transfer": "it explains the teacher's class, and a student of other labels has no such class"}
    ranges = {"ce": None, "kd": None, "explanation": (1e-2, 1e2), "tau": (1.0, 10.0)}

    ce: Weight = 0.0
    kd: Weight = 1.0
    explanation: Weight = 1.0
    tau: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    by: Literal["cam", "gradient"] = "cam"

    def loss(self, batch, student, teacher):
        if self.ce:
            yield "ce", self.ce * cross_entropy(student.logits, batch.y)
        if self.kd:
            divergence = kl_divergence(student.teacher_logits, teacher.teacher_logits, self.tau)
            yield "kd", self.kd * self.tau**2 * divergence
        if self.explanation:
            rows = teacher.rows("largest")
            if self.by == "gradient":
                mine, theirs = student.jacobian(rows), teacher.jacobian(rows)
            else:
                mine, theirs = (cam(each, rows.index[:, 0], batch.x.shape[-2:]) for each in (student, teacher))
            cosine = (normalised(mine.flatten(1)) * normalised(theirs.flatten(1))).sum(1)
            yield "explanation", self.explanation * (1 - cosine.mean())


def cam(network, classes, size):
    """The class activation map of each image's class, at the images' size: B×1×H×W."""
    try:
        found = class_activation(network.features_of(network.layers[-1]), network.head_weight[classes])
    except ValueError as error:
        raise UserError(str(error), "take e2kd[by=gradient]") from None
    return functional.interpolate(found[:, None], size, mode="bilinear")
