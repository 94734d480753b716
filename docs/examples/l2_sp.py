"""Fine-tuning that stays near its start (Li et al. 2018, L2-SP)."""

from jkbench import Method, Weight, cross_entropy


class L2SP(Method):
    starts_pretrained = True
    near: Weight = 0.01
    head: Weight = 0.01

    def initial(self, start):
        return start.pretrained()

    def loss(self, batch, student, teacher):
        yield "ce", cross_entropy(student.logits, batch.y)
        start, body = student.origin.weights, [name for name in student.weights if name.startswith("body.")]
        yield "near", self.near / 2 * sum((student.weights[name] - start[name]).square().sum() for name in body)
        yield "head", self.head / 2 * student.head_weight.square().sum()
