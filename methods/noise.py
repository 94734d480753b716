"""Gaussian noise on the inputs of both networks, which Jacobian matching integrates (Srinivas & Fleuret 2018).

Formula: ce·CE(y, p_S) + act·⟨‖z_T − z_S‖²⟩ at x + σ·ξ, ξ ~ N(0, I)
Published: one draw an image and step, in both networks.
Identity: sigma = 0 is `distill`; to second order in σ it adds σ²·⟨‖J_T − J_S‖²⟩ to act (Proposition 1).
Traps: the teacher's outputs are computed at each step.
"""

import torch

from jkbench import Deviation, Method, Weight, cross_entropy, squared_error


class Noise(Method):
    """Noise of standard deviation ``sigma``, after normalisation, new at every step; one draw an image."""

    cite = "srinivas2018jacobian"
    tasks = {"distillation", "transfer", "robustness"}

    ce: Weight = 1.0
    act: Weight = 1.0
    sigma: Deviation = 0.3
    ranges = {"sigma": (0.01, 1.0)}

    def inputs(self, batch):
        drawn = torch.randn(batch.x.shape, generator=batch.noise, device=batch.x.device)
        return batch.x + self.sigma * drawn

    def loss(self, batch, student, teacher):
        if self.ce:
            yield "ce", self.ce * cross_entropy(student.logits, batch.y)
        if self.act and teacher is not None:
            yield "act", self.act * squared_error(student.teacher_logits, teacher.teacher_logits)
