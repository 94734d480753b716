"""How far a training is, as a method reads it, and whether a step that read it can be replayed at another time.

Comparing the progress with a number (``batch.progress > 0.5``) chooses between programs. Computing with it makes a
number that changes at every step, which no recorded program can know.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Clock:
    """The number of a step and of all steps of its training."""

    step: int
    steps: int

    @property
    def progress(self) -> float:
        """How far training is: (step + 1) / steps, so that it ends at 1 and is never 0."""
        return (self.step + 1) / self.steps


@dataclass
class ClockReads:
    """What a step read of its clock."""

    choices: list[tuple[Callable[[int], bool], bool]] = field(default_factory=list)
    """Comparisons, as functions of the step, with their outcomes."""
    computed: bool = False
    """Whether the number itself went into the step."""

    def same_at(self, step: int) -> bool:
        """Whether a step with this number would choose as this one did."""
        return not self.computed and all(choice(step) == outcome for choice, outcome in self.choices)


@dataclass(frozen=True)
class WatchedClock(Clock):
    """A clock that tells what was read of it."""

    reads: ClockReads = field(default_factory=ClockReads)

    def __getattribute__(self, name: str) -> Any:
        if name == "step":
            object.__getattribute__(self, "reads").computed = True
        return object.__getattribute__(self, name)

    @property
    def progress(self) -> float:
        """As of a `Clock`; comparisons with it are noted."""
        steps = self.steps
        return _Progress(object.__getattribute__(self, "step"), lambda step: (step + 1) / steps, self.reads)


class _Progress(float):
    """A number that is a function of the step. It notes comparisons, and whether it leaves Python's arithmetic."""

    def __new__(cls, step: int, of: Callable[[int], float], reads: ClockReads) -> _Progress:
        return super().__new__(cls, of(step))

    def __init__(self, step: int, of: Callable[[int], float], reads: ClockReads) -> None:
        self.step, self.of, self.reads = step, of, reads

    __hash__ = float.__hash__


def _arithmetic(operation: Callable[[Any, Any], Any], name: str, turned: bool) -> Callable[[_Progress, Any], Any]:
    plain = getattr(float, name)

    def computed(self: _Progress, other: Any) -> Any:
        if type(other) not in (int, float):
            self.reads.computed = True
            return plain(self, other)
        of = self.of
        return _Progress(
            self.step,
            (lambda step: operation(other, of(step))) if turned else (lambda step: operation(of(step), other)),
            self.reads,
        )

    return computed


def _comparison(operation: Callable[[Any, Any], bool], name: str) -> Callable[[_Progress, Any], Any]:
    plain = getattr(float, name)

    def compared(self: _Progress, other: Any) -> Any:
        outcome = plain(self, other)
        if type(other) in (int, float):
            of = self.of
            self.reads.choices.append((lambda step: operation(of(step), other), outcome))
        else:
            self.reads.computed = True
        return outcome

    return compared


def _leaving(name: str) -> Callable[..., Any]:
    plain = getattr(float, name)

    def left(self: _Progress, *rest: Any) -> Any:
        self.reads.computed = True
        return plain(self, *rest)

    return left


for _word in ("add", "sub", "mul", "truediv"):
    for _prefix in ("", "r"):
        _name = f"__{_prefix}{_word}__"
        setattr(_Progress, _name, _arithmetic(getattr(operator, _word), _name, bool(_prefix)))
for _word in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(_Progress, f"__{_word}__", _comparison(getattr(operator, _word), f"__{_word}__"))
_REST = ("floordiv", "rfloordiv", "mod", "rmod", "pow", "rpow", "divmod", "rdivmod", "neg", "pos", "abs", "bool", "int")
for _word in (*_REST, "float", "trunc", "floor", "ceil", "round", "format", "repr"):
    setattr(_Progress, f"__{_word}__", _leaving(f"__{_word}__"))
