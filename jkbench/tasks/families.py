"""Families of task (``kind`` in a task file): one object says all that differs. A new family is one entry here."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Literal

Part = Literal["teacher", "pre-trained teacher", "source", "source of other labels", "noise"]
"""What a task file may hold, as families ask for it."""


@dataclass(frozen=True)
class Rule:
    """``sentence`` refuses a task file that holds none of ``needs``, or any of ``refuses``."""

    sentence: str
    needs: tuple[Part, ...] = ()
    refuses: tuple[Part, ...] = ()

    def broken(self, held: Set[Part]) -> bool:
        """Whether a task that holds these parts breaks the rule."""
        return not held.isdisjoint(self.refuses) or bool(self.needs and held.isdisjoint(self.needs))


@dataclass(frozen=True)
class Family:
    """What differs between families of task.

    teacher: whether the student learns from one. other_labels: whether that teacher knows other labels; the student
    then has two heads, and the page counts negative transfer. along: what the columns of the main table run along.
    why_not: why a method that does not name this family is not defined on it; by default, its own families are named.
    """

    name: str
    teacher: bool
    other_labels: bool
    along: Literal["shots", "noise std"]
    rules: tuple[Rule, ...]
    why_not: str = ""

    @property
    def same_labels(self) -> bool:
        """Whether the teacher's outputs are the target's classes."""
        return self.teacher and not self.other_labels


_FAMILIES = (
    Family("distillation", teacher=True, other_labels=False, along="shots", rules=(
        Rule("a distillation task needs a [teacher]", needs=("teacher",)),
        Rule("student and teacher of a distillation task share their labels: drop [source]",
             refuses=("source of other labels",)),
    )),
    Family("transfer", teacher=True, other_labels=True, along="shots", rules=(
        Rule("a transfer task needs a [teacher]", needs=("teacher",)),
        Rule("a transfer task needs a [source], the images its teacher knows, or a pre-trained teacher",
             needs=("source", "pre-trained teacher")),
    )),
    Family("robustness", teacher=False, other_labels=False, along="noise std", rules=(
        Rule("a robustness task has neither teacher nor source", refuses=("teacher", "source")),
        Rule("a robustness task needs [evaluation] noise = [...]", needs=("noise",)),
    ), why_not="it learns from a teacher, and a robustness task has none"),
)  # fmt: skip
FAMILIES: dict[str, Family] = {family.name: family for family in _FAMILIES}
