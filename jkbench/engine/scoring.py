"""Scoring: the only place where test labels are read."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from jkbench.engine import environment
from jkbench.engine.fidelity import Teaching, fidelity
from jkbench.engine.images import ImageSet
from jkbench.models.network import Network
from jkbench.seeds import seed_of

CHUNK = 256
PIXELS = 2**16
"""Of the images that are scored at once: 64 of CIFAR's size. More are no faster on CPU, and take more memory."""
ECE_BINS = 15


def logits(network: Network, images: ImageSet, noise_std: float = 0.0, draw: int = 0) -> Tensor:
    """Logits N×k in evaluation mode, of images with Gaussian noise added after normalisation.

    The noise is the same for every method and seed, drawn on the host so that it is the same on every device.
    """
    return outputs(network, images, noise_std, draw)[0]


@torch.no_grad()
def outputs(network: Network, images: ImageSet, noise_std: float = 0.0, draw: int = 0) -> tuple[Tensor, Tensor]:
    """As `logits`: logits by label N×k, and those that are comparable to the teacher's, N×K, of the same pass."""
    network.eval()
    stream = torch.Generator().manual_seed(seed_of("test-noise", noise_std, draw))
    by_label = comparable = torch.empty(0)
    size = max(8, min(CHUNK, PIXELS // images.images[0, 0].numel()))
    for start in range(0, len(images), size):
        environment.beat()
        x = images.read(slice(start, start + size))
        if noise_std:
            x = x + noise_std * torch.randn(x.shape, generator=stream).to(x.device)
        found = network(x)
        if not start:  # whole from the start: small pieces between large tensors keep the memory of these
            by_label = found.logits.new_empty(len(images), found.logits.shape[1])
            comparable = found.teacher_logits.new_empty(len(images), found.teacher_logits.shape[1])
        by_label[start : start + size] = found.logits
        comparable[start : start + size] = found.teacher_logits
        del found
    return by_label, comparable


def accuracy(scores: Tensor, labels: Tensor) -> float:
    """The share of images whose largest logit is the label's."""
    return float((scores.argmax(1) == labels).double().mean())


def calibration_error(scores: Tensor, labels: Tensor, bins: int = ECE_BINS) -> float:
    """Expected calibration error (Guo et al. 2017): |confidence − accuracy| averaged over equal bins of confidence,
    weighted by their share of images."""
    confidence, predicted = scores.softmax(1).max(1)
    right = (predicted == labels).double()
    # bins are half-open to the right, as in the paper: ((m − 1)/M, m/M]
    place = (confidence * bins).ceil().long().sub(1).clamp(0, bins - 1)
    gap = torch.zeros(bins, dtype=torch.double, device=scores.device)
    gap.index_add_(0, place, confidence.double() - right)
    return float(gap.abs().sum() / len(labels))


def score(
    network: Network, images: ImageSet, teacher: Teaching | None, noise: Sequence[float], draws: int
) -> tuple[dict[str, float], list[int]]:
    """Metrics by name, and the predicted labels. ``teacher`` where the task has one."""
    clean, comparable = outputs(network, images)
    predicted = clean.argmax(1)
    metrics = {
        "accuracy": accuracy(clean, images.labels),
        "nll": float(functional.cross_entropy(clean.double(), images.labels)),
        "ece": calibration_error(clean, images.labels),
    }
    if teacher is not None:
        metrics |= fidelity(network, predicted, comparable, teacher)
    for std in noise:
        if std:
            drawn = [accuracy(logits(network, images, std, draw), images.labels) for draw in range(draws)]
            metrics[f"accuracy@{std:g}"] = sum(drawn) / len(drawn)
    return metrics, predicted.tolist()
