"""A task: data, teacher, student, regimes and protocol, declared in one TOML file.

The model refuses a wrong field with the path to it. Nothing here imports torch.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from jkbench import hashing
from jkbench.errors import TOO_DEEP, Collector, UserError, unknown
from jkbench.tasks import builtin
from jkbench.tasks.explain import explain
from jkbench.tasks.families import FAMILIES, Family, Part
from jkbench.tasks.shots import Shots

Parameters = dict[str, Any]

Precision = Literal["float32", "tf32", "bfloat16"]

NAME = r"^[a-z0-9]+(-[a-z0-9]+)*$"

# Raised when a change to the engine or the mathematics changes numbers: records of another revision are not reused.
# `tests/test_golden.py` fails when the numbers move and this has not.
REVISION = 2


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _as_before(*later: str) -> Any:
    """A serialiser that leaves out fields that hold their default, so that hashes from before them stay valid."""

    def serialise(self: BaseModel, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        return {key: value for key, value in handler(self).items() if key not in later or value != fields[key].default}

    return model_serializer(mode="wrap")(serialise)


class Images(_Model):
    """A data set, or some of its classes (relabelled 0, 1, … in the order given)."""

    dataset: str
    classes: tuple[int, ...] | None = Field(default=None, min_length=2)
    size: int | None = Field(default=None, ge=8, description="side in pixels, for sets that are resized once")

    _sizes = _as_before("size")

    @model_validator(mode="after")
    def _distinct(self) -> Images:
        if self.classes and len(set(self.classes)) != len(self.classes):
            raise ValueError("a class is named twice")
        return self


class Augmentation(_Model):
    """A new random view of every image at every step: the same for all methods, for student and teacher."""

    flip: bool = Field(default=False, description="left and right exchanged for half of the images")
    shift: int = Field(
        default=0, ge=0, description="shifted by up to this many pixels each way; the edge is filled with 0"
    )
    zoom: tuple[float, float] | None = Field(
        default=None, description="a square crop whose share of the area lies between these two, resized to full size"
    )

    @model_validator(mode="after")
    def _some(self) -> Augmentation:
        if self.zoom and not 0 < self.zoom[0] <= self.zoom[1] <= 1:
            raise ValueError("zoom is [smallest, largest] share of the area, with 0 < smallest <= largest <= 1")
        if not (self.flip or self.shift or self.zoom):
            raise ValueError("augment changes nothing: give flip, shift or zoom, or leave augment out")
        return self

    def describe(self) -> str:
        """In a caption's words."""
        parts = ["flipped"] * self.flip
        parts += [f"shifted by up to {self.shift} pixels"] * bool(self.shift)
        if self.zoom:
            parts.append(f"cropped to {100 * self.zoom[0]:g}–{100 * self.zoom[1]:g} % of the area and resized")
        return " and ".join(parts)


class Training(_Model):
    """How a network is trained: the same for every method of a task."""

    optimiser: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = Field(gt=0)
    steps: int | None = Field(default=None, ge=1, description="length in optimiser steps; alternatively give epochs")
    epochs: int | None = Field(default=None, ge=1)
    drop_at: int | None = Field(default=None, ge=1, description="step (or epoch) at which the learning rate drops")
    drop_factor: float = Field(default=0.1, gt=0, le=1)
    batch: int = Field(ge=2, description="images per step; a smaller regime is one batch")
    weight_decay: float = Field(default=0.0, ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1, description="of sgd")
    augment: Augmentation | None = None

    _views = _as_before("augment")

    @model_validator(mode="after")
    def _one_length(self) -> Training:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give either steps or epochs")
        if self.drop_at is not None and self.drop_at >= (self.steps or self.epochs or 0):
            raise ValueError("drop_at lies beyond the end of training")
        return self

    def lasting(self, steps: int) -> Training:
        """The same recipe over so many steps; the rate drops at the same share of them."""
        before = self.steps or 0
        drop = self.drop_at and (self.drop_at * steps // before or None)
        return self.model_copy(update={"steps": steps, "drop_at": drop})

    def length(self, images: int) -> int:
        """How many steps a training on so many images takes."""
        return self.steps if self.steps is not None else (self.epochs or 0) * -(-images // self.batch)

    @property
    def duration(self) -> str:
        """``300 steps`` or ``12 epochs``."""
        return f"{self.steps} steps" if self.steps else f"{self.epochs} epochs"

    def describe(self) -> str:
        """The recipe in a caption's words."""
        unit = "steps" if self.steps else "epochs"
        text = f"{self.optimiser}, {self.duration} of at most {self.batch} images"
        text += f", learning rate {self.learning_rate:g}"
        if self.drop_at:
            text += f" (× {self.drop_factor:g} from {unit[:-1]} {self.drop_at})"
        text += f", weight decay {self.weight_decay:g}" if self.weight_decay else ", no weight decay"
        return text + (f", images {self.augment.describe()}" if self.augment else "")


class Pretrained(_Model):
    """Published weights of a timm model, fetched by timm or read from a file."""

    source: str = Field(min_length=1, description="the images they were trained on, in a caption's words")
    weights: Path | None = Field(
        default=None, exclude=True, description="a safetensors file of the timm model; by default timm fetches them"
    )


def _of_timm(architecture: str, pretrained: Pretrained | None) -> None:
    if pretrained is not None and not architecture.startswith("timm:"):
        raise ValueError(f"pre-trained weights need a timm model: {architecture} is not timm:MODEL")


class TeacherSpec(_Model):
    """The network to learn from: trained once per task on all of the source's training images, or pre-trained."""

    architecture: str
    training: Training | None = None
    pretrained: Pretrained | None = None
    seed: int = 0
    accuracy: float | None = Field(
        default=None, ge=0, le=1, exclude=True,
        description="share of the source's test images that it gets right at least, 0.65 for 65 %, or is refused",
    )  # fmt: skip

    _ready_made = _as_before("pretrained")

    @model_validator(mode="after")
    def _one_origin(self) -> TeacherSpec:
        if (self.training is None) == (self.pretrained is None):
            raise ValueError("give either training or pretrained")
        if self.pretrained is not None and self.accuracy is not None:
            raise ValueError("the accuracy of a pre-trained teacher cannot be seen: its images are not here")
        _of_timm(self.architecture, self.pretrained)
        return self


class StudentSpec(_Model):
    """The network that learns. ``pretrained``: its own published weights, from which only the oracle starts."""

    architecture: str
    training: Training
    pretrained: Pretrained | None = None

    _ready_made = _as_before("pretrained")

    @model_validator(mode="after")
    def _fits(self) -> StudentSpec:
        _of_timm(self.architecture, self.pretrained)
        return self


class Matching(_Model):
    """Choices that the paper leaves open: the same for every method."""

    batch_norm: Literal["per-sample", "batch", "running", "constant"] = Field(
        default="per-sample",
        description="statistics in the student's Jacobian pass. per-sample: the batch's, constant in the inputs but "
        "not in the weights; batch: differentiated through, which couples the samples; running: the running ones; "
        "constant: the batch's, constant in the weights too",
    )
    layers: tuple[tuple[str, str], ...] | None = Field(
        default=None,
        description="pairs (student layer, teacher layer); by default the deepest of each equal size",
    )
    resize: bool = Field(default=False, description="average-pool the larger attention map where sizes differ")


class Evaluation(_Model):
    """What is scored, at the last epoch."""

    noise: tuple[Annotated[float, Field(ge=0)], ...] = Field(
        default=(), description="standard deviations of Gaussian noise on normalised test inputs"
    )
    noise_draws: int = Field(default=1, ge=1, description="noise draws a test image")


class Task(_Model):
    """One benchmark: see the module's text and `jkbench/tasks/*.toml`."""

    name: str = Field(pattern=NAME)
    version: int = Field(ge=1)
    kind: str = Field(description="its family: see jkbench/tasks/families.py")
    title: str
    description: str = ""
    shots: tuple[Shots, ...] = Field(min_length=1)
    seeds: int = Field(default=5, ge=1, description="how many seeds `run` uses by default")
    target: Images
    source: Images | None = Field(
        default=None, description="the images that the teacher was trained on; by default the target's"
    )
    student: StudentSpec
    teacher: TeacherSpec | None = None
    matching: Matching = Matching()
    evaluation: Evaluation = Evaluation()
    baseline: str = Field(default="scratch", description="the row that gains are measured from")
    methods: dict[str, Parameters | Annotated[list[Parameters], Field(min_length=1)]] = Field(
        default_factory=dict,
        description="a method's parameters in this task; a list makes several rows of it. The rest keep their own",
    )
    tuning: Literal["task", "regime"] = Field(
        default="task", description="whether `tune` chooses a method's parameters once, or for each regime"
    )
    budget: Literal["time"] | None = Field(
        default=None,
        description="time: the most expensive method takes the training's steps, every other as many as fit into the "
        "same time, by the costs that `jkbench profile --keep` measured. By default all take the same steps",
    )
    precision: Precision = Field(
        default="float32",
        description="of training steps; bfloat16: of the student's passes. Weights, losses and scores are float32",
    )
    selection: str = Field(default="", description="how these parameters were chosen, in a sentence for the caption")

    _later = _as_before("budget", "precision")

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        if kind not in FAMILIES:
            raise ValueError(f"there is no such family of task: {', '.join(map(repr, FAMILIES))} are known")
        return kind

    @model_validator(mode="after")
    def _coherent(self) -> Task:
        ready_made = self.teacher is not None and self.teacher.pretrained is not None
        if self.student.pretrained is not None and not ready_made:
            raise ValueError("a pre-trained student needs a pre-trained teacher: both normalise pixels alike")
        if ready_made and self.source:
            raise ValueError("a pre-trained teacher brings its own source: drop [source]")
        other = self.source is not None and self.source.classes != self.target.classes
        parts: dict[Part, object] = {
            "teacher": self.teacher, "pre-trained teacher": ready_made, "source": self.source,
            "source of other labels": other, "noise": self.evaluation.noise,
        }  # fmt: skip
        held = {part for part, there in parts.items() if there}
        for rule in self.family.rules:
            if rule.broken(held):
                raise ValueError(rule.sentence)
        if self.budget and self.student.training.steps is None:
            raise ValueError("budget = time needs the length of the student's training in steps")
        if len(set(self.shots)) != len(self.shots):
            raise ValueError("shots names a regime twice")
        return self

    @property
    def family(self) -> Family:
        """What differs between its family of task and the others."""
        return FAMILIES[self.kind]

    @property
    def teacher_images(self) -> Images:
        """The images that the teacher was trained on; for a pre-trained teacher, the target's."""
        return self.source or self.target

    @property
    def has_pretrained_student(self) -> bool:
        """Whether there are weights of the student's architecture trained on what the teacher saw."""
        if self.teacher is None:
            return False
        return self.student.pretrained is not None or self.teacher.training is not None

    @cached_property
    def protocol(self) -> str:
        """A hash of everything that can change a number, the methods' parameters apart (they are in the trial)."""
        kept = self.model_dump(
            mode="json",
            exclude={"title", "description", "seeds", "shots", "baseline", "methods", "selection", "tuning"},
        )
        return hashing.of_value({**kept, "revision": REVISION})

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Task:
        """A copy; its `protocol` is its own."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("protocol", None)
        return copied

    def rows(self, method: str) -> list[Parameters]:
        """The parameter sets that this task gives ``method``: one, or as many as it has rows."""
        given = self.methods.get(method, {})
        return list(given) if isinstance(given, list) else [given]


def load(name: str) -> Task:
    """The task of that name, or in the TOML file at that path; `UserError` names what is wrong and where."""
    path = path_of(name)
    return parse(path, text_of(path))


def path_of(name: str) -> Path:
    """The file of the task of that name, or at that path; `UserError` where there is none."""
    path = Path(name)
    if path.suffix == ".toml" or "/" in name:
        if not path.is_file():
            raise UserError(f"there is no task file {name!r}", "give the path to a .toml file, or a task's name")
        return path
    if name not in builtin():
        raise unknown("task", name, builtin())
    return builtin()[name]


def text_of(path: Path) -> str:
    """A task file's text; `UserError` where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a TOML file: {error}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def parse(path: Path, text: str, where: str = "") -> Task:
    """The task in a file's text; files of weights in it are searched for from the file's folder.

    `UserError` names each wrong field, and ``where`` it was written (by default the file).
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: not a TOML file: {error}") from None
    except TOO_DEEP:
        raise UserError(f"{path}: not a TOML file: it is nested too deeply") from None
    for network in ("teacher", "student"):
        _resolve_weights(content.get(network), path.parent)
    try:
        task = Task.model_validate(content)
    except ValidationError as error:
        with Collector() as problems:
            for problem in explain(where or str(path), error, Task):
                problems.add(problem)
        raise
    if task.name != path.stem:
        raise UserError(
            f"{path}: the task in this file is named {task.name!r}", "give the file and the task the same name"
        )
    return task


def _resolve_weights(network: Any, folder: Path) -> None:
    """Paths of weights are relative to the task's folder."""
    ready_made = network.get("pretrained") if isinstance(network, dict) else None
    if isinstance(ready_made, dict) and isinstance(ready_made.get("weights"), str):
        ready_made["weights"] = str((folder / ready_made["weights"]).resolve())
