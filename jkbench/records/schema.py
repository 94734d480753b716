"""What a trial leaves behind, field by field. This module is the documentation of the record format.

A record is one JSON document; a committed file holds one a line (see `jkbench.records.store`).
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from functools import lru_cache
from math import isfinite
from typing import Annotated, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from jkbench.tasks.shots import Shots, SplitName, size
from jkbench.tasks.task import NAME

SCHEMA_VERSION = 1

MAX_SEED = 10**9
Status = Literal["ok", "failed", "diverged", "oom", "timeout"]
FINAL = frozenset({"ok", "diverged"})
"""Statuses that the same command does not try again: both are results."""
UNFINISHED = frozenset(get_args(Status)) - FINAL
Name = Annotated[str, Field(pattern=r"^[^./\\\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]*$")]
"""The name of a file or a folder: no separators, no control characters, no dot in front."""
Text = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]*$")]
Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]

_RANGES = {
    **dict.fromkeys(("accuracy", "agreement", "source_agreement", "ece"), (0.0, 1.0)),
    "jacobian_cosine": (-1.0, 1.0),
    **dict.fromkeys(("nll", "logit_distance", "jacobian_distance", "source_distance"), (0.0, float("inf"))),
}
_ROUNDING = 1e-6


@lru_cache
def _range_of(metric: str) -> tuple[float, float]:
    return _RANGES.get(metric.partition("@")[0], (-float("inf"), float("inf")))


def _in_range(metrics: dict[str, float]) -> dict[str, float]:
    for name, value in metrics.items():
        low, high = _range_of(name)
        if not low - _ROUNDING <= value <= high + _ROUNDING:
            raise ValueError(f"{name} {value:g} is not between {low:g} and {high:g}")
    return metrics


def _finite(parameters: dict[str, Any]) -> dict[str, Any]:
    for name, value in parameters.items():
        if not all(isfinite(each) for each in (value if isinstance(value, list) else [value]) if type(each) is float):
            raise ValueError(f"{name} {value} is not a finite number")
    return parameters


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


_Shared = AfterValidator(lru_cache(maxsize=10_000)(lambda part: part))
"""Equal parts of many records are one object: most of a large table's memory."""


class TeacherUsed(_Part):
    """The network that the student learned from."""

    recipe: str = Field(description="hash of architecture, training, data and seed")
    weights: str = Field(description="hash of the trained weights: equal hashes mean the same teacher")
    architecture: str
    accuracy: Share | None = Field(
        description="share of test images of its own classes that it labels correctly; None where it is pre-trained"
    )


class Data(_Part):
    """The images of training and scoring."""

    dataset: str
    content: str = Field(description="hash of all images and labels, whatever order they were stored in")
    train_images: Count = Field(description="images that the student was trained on")
    scored_images: Count = Field(description="images that it was scored on")
    classes: Count
    scored_per_class: tuple[Count, ...] | None = Field(
        default=None, description="scored images of each class, in their order; None where all have the same number"
    )


class Pairing(_Part):
    """Hashes of what every method shares at a seed: equal in all records of one (task, shots, seed)."""

    subset: str
    initial: str = Field(description="initial student weights (body and target head), before a method's own start")
    order: str = Field(description="the images of every batch, in order")


class Cost(_Part):
    """What the trial cost. Compare times only within one machine."""

    seconds: Amount = Field(description="training, without evaluation and without the teacher's own training")
    signals_seconds: Amount = Field(
        default=0.0,
        description="computing and reading the teacher's signals: little where an earlier trial cached them",
    )
    step_ms: Amount = Field(description="milliseconds a step: median over the trial after warm-up")
    steps: Count
    replayed: Count | None = Field(
        default=None, description="of these steps, those that were replays of a recorded one; None on a CPU"
    )
    obstacle: Text | None = Field(default=None, description="why a step could not be recorded")
    peak_memory_mb: Amount = Field(description="peak memory of the process (CPU) or of the device (CUDA), MiB")
    trainable_parameters: Count = Field(description="of student, heads and the method's own modules")
    alone: bool = Field(description="no other trial of the same run was under way")


class Environment(_Part):
    """Where it ran. Neither host nor user name is stored."""

    jkbench: str
    python: str
    torch: str
    device: str
    processor: str | None = Field(default=None, description="the CPU's model, where it trained; older records lack it")
    threads: Count
    precision: str = Field(description="float32, and which faster modes were allowed")
    platform: str
    commit: str | None = Field(description="git commit of the suite, none outside a checkout")
    dirty: bool | None = Field(description="whether the checkout had uncommitted changes")


class Outline(_Part):
    """What counting, resuming and timing read of a record; only these fields are checked then."""

    model_config = ConfigDict(extra="ignore")

    id: Name = Field(description="hash of task, regime, method's code and parameters, teacher's recipe, seed, split")
    task: str = Field(pattern=NAME)
    protocol: str = Field(description="hash of everything in the task that can change a number")
    method: Name = Field(description="the plugin's name")
    parameters: Annotated[dict[str, Any], AfterValidator(_finite)] = Field(
        description="all of the method's parameters, defaults included"
    )
    label: Text = Field(description="the row's name: the method, and the parameters that differ from the task's own")
    shots: Shots
    seed: int = Field(ge=0, le=MAX_SEED)
    split: SplitName = Field(description="the images that were scored: test, or validation when selecting")
    status: Status
    message: str | None = Field(default=None, description="why it is not ok: the last lines of the trace")
    cost: Cost | None = None
    teacher: TeacherUsed | None = None
    started_from: str | None = Field(
        default=None,
        description="hash of the pre-trained weights that it started from; older records lack it",
    )
    started_recipe: str | None = Field(
        default=None, description="hash of the recipe of these weights; older records lack it"
    )
    created: str = Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d", description="UTC, ISO 8601, milliseconds")

    @property
    def reason(self) -> str:
        """Why it is not ok, in one line: the error itself, without the trace before it and the hint after it."""
        lines = [line for line in (self.message or "").splitlines() if line.strip()]
        kept = [line for line in lines if not line.lstrip().startswith("hint: ")]
        return kept[-1].strip() if kept else "no reason is known"

    @property
    def sort_key(self) -> tuple[str, str, float, int, str]:
        """The order in a committed file."""
        return (self.split, self.label, size(self.shots), self.seed, self.id)


class Record(Outline):
    """One trial, success or failure."""

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = 1
    task_version: Count
    code: str = Field(description="hash of the plugin's source without comments and docstrings")
    reference: bool = Field(default=False, description="an upper reference: sees more data, never ranked")
    metrics: Annotated[dict[Text, float], AfterValidator(_in_range)] = Field(
        default_factory=dict,
        description="accuracy, nll, ece, accuracy@S (under noise of std S); where student and teacher share labels: "
        "agreement (with the teacher's labels), logit_distance (sum of squares), jacobian_distance and jacobian_cosine "
        "(input gradients of the correct class, of up to 1,000 images); where they do not: source_distance (sum of "
        "squares between the teacher's logits and those of the student's head for them) and source_agreement (share of "
        "images whose largest of these is the same), which older records lack; means over the scored images; shares in "
        "0..1, nll in nats",
    )
    predictions: str | None = Field(default=None, description="predicted labels on the scored images, packed")
    deployed_parameters: Count | None = Field(
        default=None, description="parameters of the network that was scored, where it is not the student"
    )
    curve_steps: list[Count] = Field(default_factory=list, description="steps at which the curves were read")
    curves: dict[Text, list[float]] = Field(default_factory=dict, description="loss terms as weighted, by name")
    data: Annotated[Data, _Shared] | None = None
    pairing: Annotated[Pairing, _Shared] | None = None
    environment: Annotated[Environment, _Shared] | None = None


def pack_labels(labels: Sequence[int]) -> str:
    """Predicted labels as text: 16-bit little-endian, deflated, base 64. Raises ValueError outside 0..65535."""
    if not all(0 <= label < 65536 for label in labels):
        raise ValueError("labels must lie in 0..65535")
    raw = b"".join(int(label).to_bytes(2, "little") for label in labels)
    # planes of low and high bytes deflate better than pairs
    return base64.b64encode(zlib.compress(raw[0::2] + raw[1::2], 9)).decode()


def unpack_labels(packed: str) -> NDArray[np.int64]:
    """The inverse of `pack_labels`: (images,). Raises ValueError for text that it does not write."""
    try:
        raw = zlib.decompress(base64.b64decode(packed))
    except zlib.error as error:
        raise ValueError(str(error)) from None
    low, high = np.frombuffer(raw, dtype=np.uint8).reshape(2, -1)
    return low + 256 * high.astype(np.int64)
