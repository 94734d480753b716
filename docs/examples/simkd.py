"""The teacher's head is reused: a projector leads the student's embedding into it (after Chen et al. 2022, SimKD)."""

from torch import nn

from jkbench import Method, Network, Weight, squared_error


class SimKD(Method):
    """What is scored is another network than the student: its body, the projector, and the teacher's head."""

    tasks = {"distillation"}
    elsewhere = {"transfer": "the teacher's head has no output for the target's labels"}
    match: Weight = 1.0

    def modules(self, student, teacher):
        return {"projector": nn.Linear(student.embedding.shape[1], teacher.embedding.shape[1])}

    def loss(self, batch, student, teacher):
        projected = student.modules["projector"](student.embedding)
        yield "match", self.match * squared_error(projected, teacher.embedding)

    def deployed(self, student, modules, teacher):
        return Network(student.body, nn.Sequential(modules["projector"], teacher.head))
