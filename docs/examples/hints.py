"""Hints: a regressor maps the student's features to the teacher's (Romero et al. 2015, FitNets)."""

from torch import nn

from jkbench import Method, Weight, cross_entropy, squared_error


class Hints(Method):
    ce: Weight = 1.0
    hint: Weight = 0.1
    ranges = {"hint": (1e-3, 10.0)}

    def modules(self, student, teacher):
        mine, theirs = student.features("last")[0], teacher.features("last")[0]
        return {"regressor": nn.Conv2d(mine.shape[1], theirs.shape[1], 1)}

    def loss(self, batch, student, teacher):
        yield "ce", self.ce * cross_entropy(student.logits, batch.y)
        guess, hint = student.modules["regressor"](student.features("last")[0]), teacher.features("last")[0]
        yield "hint", self.hint * squared_error(guess.flatten(1), hint.flatten(1)) / hint[0].numel()
