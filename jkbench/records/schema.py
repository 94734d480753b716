"""What a trial leaves behind, field by field. This module is the documentation of the record format.

A record is one JSON document; a committed file holds one a line (see `jkbench.records.store`).
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from jkbench.tasks.shots import Shots, SplitName, size

SCHEMA_VERSION = 1

Status = Literal["ok", "failed", "diverged", "oom", "timeout"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TeacherUsed(_Part):
    """The network that was learnt from."""

    recipe: str = Field(description="hash of architecture, training, data and seed")
    weights: str = Field(description="hash of the trained weights: equal means the very same teacher")
    architecture: str
    accuracy: float | None = Field(
        description="share of test images of its own classes that it labels correctly; None where it is pre-trained"
    )


class Data(_Part):
    """The images that were learnt from and scored on."""

    dataset: str
    content: str = Field(description="hash of all images and labels, whatever order they were stored in")
    train_images: int = Field(description="images that the student was trained on")
    scored_images: int = Field(description="images that it was scored on")
    classes: int


class Pairing(_Part):
    """Hashes of what every method shares at a seed: equal in all records of one (task, shots, seed)."""

    subset: str
    initial: str = Field(description="initial student weights (body and target head), before a method's own start")
    order: str = Field(description="the images of every batch, in order")


class Cost(_Part):
    """What the trial took. Times are comparable only on one machine."""

    seconds: float = Field(description="training, without evaluation and without the teacher's own training")
    signals_seconds: float = Field(
        default=0.0, description="computing and reading the teacher's signals: little where an earlier trial kept them"
    )
    step_ms: float = Field(description="milliseconds a step: median over the trial after warm-up")
    steps: int
    peak_memory_mb: float = Field(description="peak memory of the process (CPU) or of the device (CUDA), MiB")
    trainable_parameters: int = Field(description="of student, heads and the method's own modules")
    alone: bool = Field(description="no other trial of the same run was under way")


class Environment(_Part):
    """Where it ran. Neither host nor user name is kept."""

    jkbench: str
    python: str
    torch: str
    device: str
    threads: int
    precision: str = Field(description="float32, and which faster modes were allowed")
    platform: str
    commit: str | None = Field(description="git commit of the suite, none outside a checkout")
    dirty: bool | None = Field(description="whether the checkout had uncommitted changes")


class Record(_Part):
    """One trial, success or failure."""

    schema_version: Literal[1] = 1
    id: str = Field(description="hash of task, regime, method's code and parameters, teacher's recipe, seed, split")
    task: str
    task_version: int
    protocol: str = Field(description="hash of everything in the task that can change a number")
    method: str = Field(description="the plugin's name")
    parameters: dict[str, Any] = Field(description="all of the method's parameters, defaults included")
    label: str = Field(description="the row's name: the method, and the parameters that differ from the task's own")
    code: str = Field(description="hash of the plugin's source without comments and docstrings")
    reference: bool = Field(default=False, description="an upper reference: sees more data, never ranked")
    shots: Shots
    seed: int
    split: SplitName = Field(description="the images that were scored: test, or validation when selecting")
    status: Status
    message: str | None = Field(default=None, description="why it is not ok: the last lines of the trace")
    metrics: dict[str, float] = Field(
        default_factory=dict,
        description="accuracy, nll, ece, accuracy@S (under noise of std S); where student and teacher share labels: "
        "agreement (with the teacher's labels), logit_distance (sum of squares), jacobian_distance and jacobian_cosine "
        "(input gradients of the correct class, of up to 1,000 images); where they do not: source_distance (sum of "
        "squares between the teacher's logits and those of the student's head for them) and source_agreement (share of "
        "images whose largest of these is the same), which older records lack; means over the scored images; shares in "
        "0..1, nll in nats",
    )
    predictions: str | None = Field(default=None, description="predicted labels on the scored images, packed")
    curve_steps: list[int] = Field(default_factory=list, description="steps at which the curves were read")
    curves: dict[str, list[float]] = Field(default_factory=dict, description="loss terms as weighted, by name")
    cost: Cost | None = None
    teacher: TeacherUsed | None = None
    started_from: str | None = Field(
        default=None,
        description="hash of the pre-trained weights that it started from; older records lack it",
    )
    started_recipe: str | None = Field(
        default=None, description="hash of the recipe of these weights; older records lack it"
    )
    data: Data | None = None
    pairing: Pairing | None = None
    environment: Environment | None = None
    created: str = Field(description="UTC, ISO 8601, milliseconds")

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


def pack_labels(labels: Sequence[int]) -> str:
    """Predicted labels as text: 16-bit little-endian, deflated, base 64. Raises ValueError outside 0..65535."""
    raw = (
        b"".join(int(label).to_bytes(2, "little") for label in labels)
        if all(0 <= label < 65536 for label in labels)
        else None
    )
    if raw is None:
        raise ValueError("labels must lie in 0..65535")
    # planes of low and high bytes deflate better than pairs
    return base64.b64encode(zlib.compress(raw[0::2] + raw[1::2], 9)).decode()


def unpack_labels(packed: str) -> list[int]:
    """The inverse of `pack_labels`."""
    raw = zlib.decompress(base64.b64decode(packed))
    half = len(raw) // 2
    return [low + 256 * high for low, high in zip(raw[:half], raw[half:], strict=True)]
