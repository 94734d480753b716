"""Trained networks: the teacher of a task, and a student trained on all that the teacher saw.

Trained once, stored in one safetensors file under the hash of the recipe, checked on load. A damaged file, or one of
another recipe, is refused, never silently overwritten.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from jkbench.engine import images as image_sets
from jkbench.engine import scoring
from jkbench.engine.batches import Batches
from jkbench.engine.checkpoint import Checkpoint, surroundings
from jkbench.engine.context import SignalSettings
from jkbench.engine.images import LoadedDataset
from jkbench.engine.loop import Diverged, Loop
from jkbench.engine.step import Step
from jkbench.errors import UserError
from jkbench.files import locked, write_atomically
from jkbench.maths import cross_entropy
from jkbench.models.network import Network, build, placed, seeded
from jkbench.records import weights
from jkbench.records.teachers import Recipe, path
from jkbench.records.weights import KEY, Described

EXPORTED = "use the file that jkbench teacher export wrote for this task"
ROUNDED, ROUNDED_IMAGES = 1e-3, 3
"""How much the accuracy of a network may differ between two machines: a share of the test images, plus some images."""


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network that nothing can change: it is held as bytes, and every reader gets a copy of its own."""

    recipe: Recipe
    weights: str
    accuracy: float | None
    """On the test images of its data set; None for a pre-trained network, whose images are not here."""
    stored: bytes = field(repr=False)

    @classmethod
    def of(cls, recipe: Recipe, network: Network, accuracy: float | None) -> TrainedNetwork:
        """Take a network as it is now, in evaluation mode and without gradients."""
        # for good: a teacher left in train mode teaches something else at each step
        network.eval().requires_grad_(False)
        torch.save(network, content := io.BytesIO())
        return cls(recipe, weights_hash(network.state_dict()), accuracy, content.getvalue())

    def copy(self) -> Network:
        """A new copy, on the device that the network was taken from."""
        network: Network = torch.load(io.BytesIO(self.stored), weights_only=False)
        return network

    def check_unchanged(self, copy: Network) -> None:
        """`UserError` where a copy is not what it was: it is in train mode, or its weights or buffers have changed."""
        what = "set it to train mode" if any(module.training for module in copy.modules()) else ""
        if not what and weights_hash(copy.state_dict()) != self.weights:
            what = "changed its weights or buffers"
        if what:
            raise UserError(
                f"the method changed the {self.recipe.role}: it {what}",
                "read the teacher through its signals; return networks to train from modules()",
            )

    def describe(self) -> str:
        """In a line: architecture, accuracy or origin, weights."""
        told = f"{100 * self.accuracy:.2f} % on its test images" if self.accuracy is not None else ""
        if self.recipe.pretrained is not None:
            told = f"pre-trained on {self.recipe.pretrained.source}"
        return f"{self.recipe.architecture}: {told}, weights {self.weights}"

    @property
    def state(self) -> Mapping[str, Tensor]:
        """Its weights and buffers, copied."""
        return self.copy().state_dict()


def weights_hash(state: Mapping[str, Tensor]) -> str:
    """A hash of all weights and buffers, by name."""
    return weights.weights_hash({name: value.detach().cpu().numpy() for name, value in state.items()})


def train(
    recipe: Recipe,
    data: LoadedDataset,
    device: torch.device,
    progress: Callable[[int, int], None],
    checkpoint: Checkpoint | None = None,
) -> TrainedNetwork:
    """Train the network of a recipe with plain cross-entropy, by the same loop as every trial.

    With a ``checkpoint`` it resumes where an earlier process was stopped, to the same bits.
    """
    assert recipe.training is not None
    loop = untrained_loop(recipe, data, device)
    try:
        with seeded("layers", recipe.role, recipe.seed):
            if checkpoint is not None:
                checkpoint.restore(loop)
                loop.after_step = checkpoint.save
            for batch, student, _ in loop:
                loop.step([("ce", cross_entropy(student.logits, batch.y))])
                progress(batch.step + 1, len(loop))
    except Diverged as error:
        raise UserError(
            f"the {recipe.role} {recipe.architecture} cannot be trained: {error}", "lower its learning_rate"
        ) from None
    return TrainedNetwork.of(recipe, loop.student, _accuracy(loop.student, data, device))


def untrained_loop(recipe: Recipe, data: LoadedDataset, device: torch.device) -> Loop:
    """The training of a recipe's network before its first step."""
    images = image_sets.on_device(data.splits["train"], image_sets.statistics(data.splits["train"]), device)
    channels, size = data.size
    network = placed(build(recipe.architecture, channels, size, len(data.classes), recipe.seed), device)
    assert recipe.training is not None
    step = Step(network, recipe.training, SignalSettings((), True, "batch"))
    return Loop(Batches(images, recipe.training, recipe.seed), step)


def _checkpoint(folder: Path, recipe: Recipe, data: LoadedDataset, device: torch.device) -> Checkpoint:
    identity = {"recipe": recipe.content, "content": data.content, **surroundings(device)}
    return Checkpoint(path(folder, recipe).with_suffix(".partial"), identity)


def _accuracy(network: Network, data: LoadedDataset, device: torch.device) -> float:
    test = image_sets.on_device(data.splits["test"], image_sets.statistics(data.splits["train"]), device)
    return scoring.accuracy(scoring.logits(network, test), test.labels)


def ready_made(recipe: Recipe, data: LoadedDataset, device: torch.device, file: Path | None = None) -> TrainedNetwork:
    """The network of a recipe that names pre-trained weights: from ``file``, the task's own file, or through timm."""
    from jkbench.models.pretrained import pretrained_state

    assert recipe.pretrained is not None
    state = pretrained_state(recipe.architecture, file or recipe.pretrained.weights)
    return TrainedNetwork.of(recipe, _with_weights(recipe, data, state, device), None)


def _with_weights(recipe: Recipe, data: LoadedDataset, state: Mapping[str, Tensor], device: torch.device) -> Network:
    channels, size = data.size
    classes = len(state["head.weight"]) if recipe.pretrained and "head.weight" in state else len(data.classes)
    network = build(recipe.architecture, channels, size, classes, recipe.seed)
    network.load_state_dict(state)
    return placed(network, device)


def store(trained: TrainedNetwork, data: LoadedDataset, folder: Path) -> Path:
    """Write a trained network to its file, atomically."""
    target = path(folder, trained.recipe)
    told = Described(
        recipe=trained.recipe.content,
        content=_trained_on(trained.recipe, data),
        weights=trained.weights,
        accuracy=trained.accuracy,
    )
    tensors = {name: value.detach().cpu().contiguous() for name, value in trained.state.items()}
    # under one key: safetensors writes several in no fixed order, and equal networks should have equal files
    write_atomically(target, save(tensors, {KEY: json.dumps(told.model_dump(), sort_keys=True)}))
    return target


def _trained_on(recipe: Recipe, data: LoadedDataset) -> str:
    """The hash of the images that a network was trained on; empty for a pre-trained one, which fits any."""
    return "" if recipe.pretrained else data.content


def load(folder: Path, recipe: Recipe, data: LoadedDataset, device: torch.device) -> TrainedNetwork:
    """The stored network of a recipe. `UserError` where the file is damaged, or of another recipe or other images."""
    again = "fetch it" if recipe.pretrained else "train it"
    return _read(
        path(folder, recipe), recipe, data, device, f"delete the file to {again} again, or restore the right one"
    )


def adopt(file: Path, folder: Path, recipe: Recipe, data: LoadedDataset, device: torch.device) -> TrainedNetwork:
    """Take the network of a recipe from a file and store it. `UserError` as in `load`, and where another is stored."""
    if not file.is_file():
        raise UserError(f"there is no file {file}")
    raw = recipe.pretrained is not None and not weights.is_ours(file)
    if raw:  # timm's own names
        found = ready_made(recipe, data, device, file)
    else:
        found = _read(file, recipe, data, device, EXPORTED)
        _honest(found, file, data, device)
    target = path(folder, recipe)
    if target.is_file():
        held = load(folder, recipe, data, device)
        if held.weights != found.weights:
            raise UserError(
                f"{target} is another network of the same recipe (weights {held.weights}, not {found.weights})",
                "records of two teachers do not belong in one table: give another --leaderboard, or delete that file "
                "and its records",
            )
        return held
    if raw:
        store(found, data, folder)
    else:
        write_atomically(target, file.read_bytes())
    return found


def _read(file: Path, recipe: Recipe, data: LoadedDataset, device: torch.device, hint: str) -> TrainedNetwork:
    try:
        with safe_open(file, framework="pt") as opened:
            told = weights.metadata(opened)
            state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except ValidationError as error:
        first = error.errors()[0]
        wrong = ".".join(map(str, first["loc"])) or "its metadata"
        raise UserError(f"the {recipe.role} in {file} is damaged: {wrong}: {first['msg']}", hint) from None
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"the {recipe.role} in {file} is damaged: {error}", hint) from None
    if told.recipe != recipe.content:
        other = weights.differences(told.recipe, recipe.content)
        raise UserError(f"the {recipe.role} in {file} was made with another recipe: {other}", hint)
    if told.content != _trained_on(recipe, data):
        raise UserError(f"the {recipe.role} in {file} was trained on different images from the current data set", hint)
    if told.weights != weights_hash(state):
        raise UserError(f"the {recipe.role} in {file} is damaged: its weights do not match its metadata", hint)
    try:
        network = _with_weights(recipe, data, state, device)
    except RuntimeError as error:
        last = str(error).splitlines()[-1].strip()
        raise UserError(f"the weights in {file} do not fit the current {recipe.architecture}: {last}", hint) from None
    return TrainedNetwork.of(recipe, network, told.accuracy)


def _honest(found: TrainedNetwork, file: Path, data: LoadedDataset, device: torch.device) -> None:
    """Refuse a network whose metadata give a wrong accuracy, which captions repeat. Rounding may change few images."""
    if found.accuracy is None:
        return
    here, images = _accuracy(found.copy(), data, device), len(data.splits["test"])
    if abs(here - found.accuracy) > ROUNDED + ROUNDED_IMAGES / images:
        raise UserError(
            f"the {found.recipe.role} in {file} claims {100 * found.accuracy:.2f} % on its test images and reaches "
            f"{100 * here:.2f} % on those here",
            EXPORTED,
        )


_LOADED: dict[tuple[Path, int, torch.device], TrainedNetwork] = {}


def shared(folder: Path, recipe: Recipe, data: LoadedDataset, device: torch.device) -> TrainedNetwork:
    """As `load`, once a process and file: the trials of a task share the stored bytes."""
    file = path(folder, recipe)
    key = (file, file.stat().st_mtime_ns if file.is_file() else 0, device)
    if key not in _LOADED:
        _LOADED[key] = load(folder, recipe, data, device)
    return _LOADED[key]


def _make(
    folder: Path, recipe: Recipe, data: LoadedDataset, device: torch.device, progress: Callable[[int, int], None]
) -> None:
    if recipe.pretrained is not None:
        store(ready_made(recipe, data, device), data, folder)
        return
    checkpoint = _checkpoint(folder, recipe, data, device)
    store(train(recipe, data, device, progress, checkpoint), data, folder)
    checkpoint.remove()


def obtain(
    folder: Path,
    recipe: Recipe,
    data: LoadedDataset,
    device: torch.device,
    progress: Callable[[int, int], None] | None = None,
) -> TrainedNetwork:
    """The network of a recipe: the stored one, or trained and stored now. One process trains, the others wait."""
    file = path(folder, recipe)
    if not file.is_file():
        with locked(file.with_suffix(".lock")):
            if not file.is_file():
                _make(folder, recipe, data, device, progress or (lambda done, total: None))
    return shared(folder, recipe, data, device)
