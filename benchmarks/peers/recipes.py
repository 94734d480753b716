"""Training loops as the published repositories write them, re-implemented for this comparison; no line is theirs.

Common to RepDistiller, mdistiller, KD_Lib, Knowledge-Distillation-Zoo and attention-transfer: one process, float32, a
DataLoader over PIL images with torchvision transforms, the teacher's forward pass at every step, torch's default
memory layout and optimiser. Their data workers are left out (one process, as the issue of fairness wants; at 64
images of 32×32 they hide little). The losses are those of jkbench's methods, so that the work is the same:

* ``distill``: cross-entropy + squared error of logits;
* ``attention``: the same + attention maps (attention-transfer's ``at``) at the two sizes that both networks have;
* ``jacobian``: the same as ``distill`` + the correct-class input gradients of both networks, the student's by double
  backward through batch norm in train mode. No public code of Jacobian matching is known; this is how the double
  backward of a gradient penalty is written elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from jkbench.data.arrays import Split


class Pictures(Dataset):
    """PIL images, transformed one by one, as torchvision's CIFAR100 does."""

    def __init__(self, split: Split) -> None:
        self.split = split
        normalise = transforms.Normalize((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761))
        self.transform = transforms.Compose([transforms.ToTensor(), normalise])

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, at: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.split.images[at])), int(self.split.labels[at])


def distill(student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy + squared error of logits."""
    with torch.no_grad():
        target = teacher(x).logits
    logits = student(x).logits
    return functional.cross_entropy(logits, y) + (logits - target).pow(2).sum(1).mean()


def attention(student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """+ attention maps where both have 32×32, 16×16 and 8×8."""

    def at(features: Tensor) -> Tensor:
        return functional.normalize(features.pow(2).sum(1).flatten(1))

    with torch.no_grad():
        target = teacher(x)
    out = student(x)
    loss = functional.cross_entropy(out.logits, y) + (out.logits - target.logits).pow(2).sum(1).mean()
    for mine, theirs in zip(out.maps.values(), target.maps.values(), strict=False):
        loss = loss + (at(mine) - at(theirs)).norm(dim=1).mean()
    return loss


def jacobian(student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """+ squared distance of the correct-class input gradients."""
    x = x.requires_grad_()
    target, logits = teacher(x).logits, student(x).logits
    (theirs,) = torch.autograd.grad(target.gather(1, y[:, None]).sum(), x)
    (mine,) = torch.autograd.grad(logits.gather(1, y[:, None]).sum(), x, create_graph=True)
    loss = functional.cross_entropy(logits, y) + (logits - target.detach()).pow(2).sum(1).mean()
    return loss + (mine - theirs).pow(2).flatten(1).sum(1).mean()


RECIPES: dict[str, Callable[[nn.Module, nn.Module, Tensor, Tensor], Tensor]] = {
    "distill": distill,
    "attention": attention,
    "jacobian": jacobian,
}


def trial(name: str, student: nn.Module, teacher: nn.Module, train: Split, test: Split, epochs: int) -> float:
    """Seconds of one whole trial: training, then one pass over the test images."""
    began = time.perf_counter()
    loader = DataLoader(Pictures(train), batch_size=64, shuffle=True)
    optimiser = torch.optim.Adam(student.parameters(), lr=1e-3)
    teacher.eval()
    student.train()
    for _ in range(epochs):
        for x, y in loader:
            loss = RECIPES[name](student, teacher, x, y)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            loss.item()  # they log it
    student.eval()
    with torch.no_grad():
        for x, _ in DataLoader(Pictures(test), batch_size=64):
            student(x).logits.argmax(1)
    return time.perf_counter() - began
