"""What the teachers are like on the students' images: `properties.py SUITE` writes them into `properties.json`.

Needs the stored teachers, which `run.sh` trains; the report needs this file alone.
"""

import json
import sys

import torch
from recipes import HERE, SUITES
from torch import Tensor

from jkbench.engine import images as image_sets
from jkbench.engine import teacher as networks
from jkbench.engine.setup import training_pool
from jkbench.maths.jacobian import full_jacobian
from jkbench.plugins.discovery import discover
from jkbench.records import teachers
from jkbench.tasks import task as tasks

SIGMA, DRAWS = 0.3, 4
"""Of the noise along which a teacher is held against its first-order expansion, on normalised inputs."""
IMAGES = 2000
"""About how many of the students' images are looked at, evenly through the data set."""


def linearity(logits: Tensor, jacobian: Tensor, x: Tensor, network: torch.nn.Module) -> float:
    """1 - ‖f(x + δ) - f(x) - J δ‖ / ‖f(x + δ) - f(x)‖, the mean over images and draws: 1 for a linear map."""
    stream, found = torch.Generator().manual_seed(0), []
    for _ in range(DRAWS):
        delta = SIGMA * torch.randn(x.shape, generator=stream)
        moved = network(x + delta).logits - logits
        expected = torch.einsum("bkd,bd->bk", jacobian, delta.flatten(1))
        found.append(1 - (moved - expected).norm(dim=1) / moved.norm(dim=1))
    return float(torch.cat(found).mean())


def properties(network: torch.nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
    """Means over the images."""
    x = x.clone().requires_grad_()
    logits = network(x).logits
    jacobian = full_jacobian(logits, x, create_graph=False)
    with torch.no_grad():
        probabilities = logits.softmax(dim=1)
        own = jacobian[torch.arange(len(y)), y]
        whole = jacobian.flatten(1).norm(dim=1)
        return {
            "accuracy on the students' images": float((logits.argmax(dim=1) == y).float().mean()),
            "largest probability": float(probabilities.max(dim=1).values.mean()),
            "norm of the logits": float(logits.norm(dim=1).mean()),
            "norm of the Jacobian's correct row": float(own.norm(dim=1).mean()),
            "norm of the Jacobian over that of the logits": float((whole / logits.norm(dim=1)).mean()),
            "local linearity": linearity(logits.detach(), jacobian, x.detach(), network),
        }  # fmt: skip


def main() -> None:
    """Every teacher that is not in the file yet, with the hash of its weights and its accuracy on its test images."""
    index, found = discover(), json.loads((HERE / "properties.json").read_text())
    for name in SUITES[sys.argv[1]].recipes():
        if name in found:
            continue
        task = tasks.load(str(HERE / "tasks" / f"{name}.toml"))
        data = image_sets.of_task(task, index.datasets())
        recipe = teachers.of_task(task, index.datasets())
        assert recipe is not None
        trained = networks.load(HERE, recipe, data.source, torch.device("cpu"))
        split = data.target.splits[training_pool(data.target.splits, "validation")]
        images = image_sets.on_device(split, data.normalisation, torch.device("cpu"))
        some = slice(0, len(images), max(1, len(images) // IMAGES))
        measured = properties(trained.copy(), images.read(some), images.labels[some])
        found[name] = {"weights": trained.weights, "accuracy on its test images": trained.accuracy, **measured}
    (HERE / "properties.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
