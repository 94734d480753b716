"""What the file of a stored network says of itself, and whether its weights are those. Nothing imports torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from safetensors import SafetensorError, safe_open

from jkbench import hashing

KEY = "jkbench"
"""The one key of a stored network's metadata: safetensors writes several in no fixed order."""


class Described(BaseModel):
    """The metadata of a stored network."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    recipe: dict[str, Any]
    """`jkbench.records.teachers.Recipe.content`."""
    content: str
    """Hash of the images that it was trained on; empty of a pre-trained one, which goes with any."""
    weights: str
    """`weights_hash` of its tensors."""
    accuracy: float | None = Field(ge=0, le=1)
    """On the test images of what it was trained on; None of a pre-trained one, whose images are not here."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not isinstance(self.recipe.get("architecture"), str):
            raise ValueError("its recipe names no architecture")
        for part in ("training", "images", "pretrained"):
            if not isinstance(self.recipe.get(part, {}), dict):
                raise ValueError(f"its recipe's {part} is not a table")
        if (self.accuracy is None) != ("pretrained" in self.recipe):
            raise ValueError("it has no accuracy" if self.accuracy is None else "it is pre-trained but has an accuracy")
        return self


def metadata(opened: Any) -> Described:
    """What an opened safetensors file says of the network in it. `ValueError` where that is not what `store` writes."""
    text = (opened.metadata() or {}).get(KEY)
    if text is None:
        raise ValueError("it has no recipe")
    return Described.model_validate_json(text)


def described(file: Path) -> Described | None:
    """What the network in a file says of itself, weights unread; None where there is none, or it cannot be read."""
    try:
        with safe_open(file, framework="np") as opened:
            return metadata(opened)
    except (SafetensorError, OSError, ValueError):
        return None


def is_ours(file: Path) -> bool:
    """Whether a file was written by this suite, and does not hold weights with timm's own names alone."""
    try:
        with safe_open(file, framework="np") as opened:
            return KEY in (opened.metadata() or {})
    except (SafetensorError, OSError):
        return False


def is_whole(file: Path) -> bool:
    """Whether the weights in a file are those that it speaks of: all of them are read."""
    try:
        with safe_open(file, framework="np") as opened:
            found = weights_hash({name: opened.get_tensor(name) for name in opened.keys()})  # noqa: SIM118
            return found == metadata(opened).weights
    except (SafetensorError, OSError, ValueError):
        return False


def weights_hash(arrays: Mapping[str, NDArray[np.generic]]) -> str:
    """A hash of all weights and buffers, by name."""
    parts: list[bytes] = []
    for name in sorted(arrays):
        parts += [name.encode(), np.ascontiguousarray(arrays[name]).tobytes()]
    return hashing.of_bytes(*parts)


def differences(held: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """In which fields a recipe is another than was wanted: ``training.epochs 4, not 100``."""
    mine, theirs = dict(_fields(held)), dict(_fields(wanted))
    names = [name for name in {**theirs, **mine} if mine.get(name) != theirs.get(name)]
    return "; ".join(f"{name} {mine.get(name)!r}, not {theirs.get(name)!r}" for name in names)


def _fields(value: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in value.items():
        if isinstance(field, Mapping):
            yield from _fields(field, f"{before}{name}.")
        else:
            yield before + name, field
