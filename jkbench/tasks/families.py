"""Families of task (``kind`` in a task file): one object says all that differs. A new family is one entry here.

Nothing here imports torch or pydantic.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Literal

Part = Literal["teacher", "pre-trained teacher", "source", "source of other labels", "noise"]
"""What a task file may hold, as families ask for it."""


@dataclass(frozen=True)
class Rule:
    """A task file must hold one of ``needs``, and none of ``refuses``; ``sentence`` tells the user otherwise."""

    sentence: str
    needs: frozenset[Part] = frozenset()
    refuses: frozenset[Part] = frozenset()

    def broken(self, held: Set[Part]) -> bool:
        """Whether a task that holds these parts breaks the rule."""
        return bool(self.refuses & held) or bool(self.needs and not self.needs & held)


@dataclass(frozen=True)
class Family:
    """What differs between families of task."""

    name: str
    teacher: bool
    """Whether the student learns from a teacher."""
    other_labels: bool
    """Whether the teacher knows other labels: the student gets two heads, and its page counts negative transfer."""
    along: Literal["shots", "noise std"]
    """What the columns of its main table run along."""
    rules: tuple[Rule, ...]
    why_not: str = ""
    """Why a method that does not name this family is not defined on it; by default its own families are named."""

    @property
    def same_labels(self) -> bool:
        """Whether the teacher's outputs are the target's classes."""
        return self.teacher and not self.other_labels


def _needs(sentence: str, *parts: Part) -> Rule:
    return Rule(sentence, needs=frozenset(parts))


def _refuses(sentence: str, *parts: Part) -> Rule:
    return Rule(sentence, refuses=frozenset(parts))


DISTILLATION = Family(
    name="distillation",
    teacher=True,
    other_labels=False,
    along="shots",
    rules=(
        _needs("a distillation task needs a [teacher]", "teacher"),
        _refuses(
            "student and teacher of a distillation task share their labels: drop [source]", "source of other labels"
        ),
    ),
)
TRANSFER = Family(
    name="transfer",
    teacher=True,
    other_labels=True,
    along="shots",
    rules=(
        _needs("a transfer task needs a [teacher]", "teacher"),
        _needs(
            "a transfer task needs a [source], the images its teacher knows, or a pre-trained teacher",
            "source",
            "pre-trained teacher",
        ),
    ),
)
ROBUSTNESS = Family(
    name="robustness",
    teacher=False,
    other_labels=False,
    along="noise std",
    rules=(
        _refuses("a robustness task has neither teacher nor source", "teacher", "source"),
        _needs("a robustness task needs [evaluation] noise = [...]", "noise"),
    ),
    why_not="it learns from a teacher, and a robustness task has none",
)

FAMILIES: dict[str, Family] = {family.name: family for family in (DISTILLATION, TRANSFER, ROBUSTNESS)}
