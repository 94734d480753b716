"""Two students teach each other (Zhang et al. 2018, deep mutual learning); the first one is scored."""

from torch.nn import functional

from jkbench import Method, Weight, cross_entropy


class Mutual(Method):
    auxiliary = {"peer"}
    ce: Weight = 1.0
    kl: Weight = 1.0

    def modules(self, student, teacher):
        return {"peer": student.twin("peer")}

    def loss(self, batch, student, teacher):
        peer = student.of("peer")
        yield "ce", self.ce * cross_entropy(student.logits, batch.y)
        yield "kl", self.kl * divergence(student.logits, peer.logits.detach())
        yield "peer", cross_entropy(peer.logits, batch.y) + divergence(peer.logits, student.logits.detach())


def divergence(mine, theirs):
    return functional.kl_div(mine.log_softmax(1), theirs.softmax(1), reduction="batchmean")
