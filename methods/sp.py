"""Similarity-preserving distillation: which images of a batch the last maps hold alike (Tung & Mori 2019).

Formula: ce·CE(y, p_S) + sp·⟨‖row of G_S − row of G_T‖²⟩, G the rows of A·Aᵀ over their norms, A the flattened last
    maps
Published: 3000 on ‖G_S − G_T‖²_F/B².
Here: 47 on the mean over the batch of a row's squared distance, which is 3000/B at B = 64. The last map is read
    before pooling, as in RepDistiller; the networks' layers need not match.
Identity: no change under an orthogonal map or a scaling of A of either network. A row's term is 2(1 − cos) of the
    rows.
Traps: the published weight falls with the batch: at 10 images it is 300 per row. An image whose map is zero has a
    zero row.
"""

from jkbench import Method, Weight, cross_entropy, similarity, squared_error


class SP(Method):
    cite = "tung2019similarity"
    tasks = {"distillation", "transfer"}
    ranges = {"sp": (1e-1, 1e4)}

    ce: Weight = 1.0
    sp: Weight = 47.0

    def loss(self, batch, student, teacher):
        if self.ce:
            yield "ce", self.ce * cross_entropy(student.logits, batch.y)
        if self.sp:
            mine, theirs = (similarity(network.features_of(network.layers[-1])) for network in (student, teacher))
            yield "sp", self.sp * squared_error(mine, theirs)
