"""Relational distillation: distances and angles between the embeddings of a batch (Park et al. 2019).

Formula: ce·CE(y, p_S) + distance·mean over (i, j) of H(d_S,ij, d_T,ij) + angle·mean over (i, j, k) of H(cos_S,ijk,
    cos_T,ijk), d over the batch's mean distance, H Huber's loss
Published: distance : angle = 1 : 2, 25 and 50 for classification; the authors take embeddings of unit length,
    RepDistiller as they are.
Here: 25 and 50 on an image's mean over its pairs and triplets, the published number at every batch size; embeddings
    as they are. Angles come from the Gram matrix: B³ numbers, not B²·d.
Identity: neither term changes under translation, rotation and scaling of the embeddings of either network.
Traps: relations are those inside a batch: few images have few. A pair of coincident images has distance, angles and
    gradients zero, where the code's gradient of the root is 1e6.
"""

from jkbench import Method, Weight, angles, cross_entropy, huber, relative_distances


class RKD(Method):
    cite = "park2019relational"
    tasks = {"distillation", "transfer"}
    ranges = {"distance": (1e-2, 1e3), "angle": (1e-2, 1e3)}

    ce: Weight = 1.0
    distance: Weight = 25.0
    angle: Weight = 50.0

    def loss(self, batch, student, teacher):
        if self.ce:
            yield "ce", self.ce * cross_entropy(student.logits, batch.y)
        mine, theirs = student.embedding, teacher.embedding
        if self.distance:
            yield "distance", self.distance * huber(relative_distances(mine), relative_distances(theirs))
        if self.angle:
            yield "angle", self.angle * huber(angles(mine), angles(theirs))
