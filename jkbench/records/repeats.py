"""Several results of one trial: what a repeat on another machine changes, and what contradicts itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from jkbench.records.schema import FINAL, Environment, Outline, Record
from jkbench.tasks.shots import per_class

EXACT = 1e-6
"""How far metrics of one trial may differ on one kind of machine: a sum's rounding."""


@dataclass(frozen=True)
class Repeat:
    """Two results of one trial.

    Metrics may differ by ``allowed`` times the larger of 1 and their size: shares by as much of all images.
    """

    first: Record
    second: Record
    allowed: float

    @property
    def machines(self) -> tuple[str, ...]:
        """Where both ran, in words; one entry where that is one kind of machine."""
        return tuple(dict.fromkeys(machine(record.environment) for record in (self.first, self.second)))

    @property
    def differences(self) -> dict[str, tuple[float | None, float | None]]:
        """The metrics whose numbers differ at all."""
        names = {**self.first.metrics, **self.second.metrics}
        both = {name: (self.first.metrics.get(name), self.second.metrics.get(name)) for name in names}
        return {name: (one, other) for name, (one, other) in both.items() if one != other}

    @property
    def beyond(self) -> list[str]:
        """The metrics that differ by more than is allowed."""
        return [
            name
            for name, (one, other) in self.differences.items()
            if one is None or other is None or abs(one - other) > self.allowed * max(1.0, abs(one), abs(other))
        ]

    @property
    def contradiction(self) -> str:
        """A sentence where one kind of machine gave two results; empty where two did."""
        if len(self.machines) > 1:
            return ""
        first, second = self.first, self.second
        parts = [f"status {first.status} and {second.status}"] if first.status != second.status else []
        parts += [f"{name} {one} and {other}" for name, (one, other) in self.differences.items()]
        return (
            f"{first.task}: two results of one trial on one kind of machine: {first.label}, {per_class(first.shots)}, "
            f"seed {first.seed} ({first.id}): {', '.join(parts)}; the first, of {first.created}, is shown. "
            f"Remove both (jkbench remove {first.id}) and run it again"
        )

    def _shared(self) -> dict[str, tuple[object, object]]:
        """What a repeat must have in common, by name. Initial weights: torch rounds them otherwise elsewhere."""
        both = (self.first, self.second)
        found: dict[str, tuple[object, object]] = {"start": (self.first.started_from, self.second.started_from)}
        parts = {"data": ("content",), "teacher": ("weights",), "pairing": ("subset", "order")}
        if len(self.machines) == 1:
            parts["pairing"] = ("subset", "order", "initial")
        for part, names in parts.items():
            for name in names:
                one, other = (getattr(getattr(record, part), name, None) for record in both)
                found[f"{part}'s {name}"] = (one, other)
        return found

    @property
    def points(self) -> float:
        """How far the accuracies lie apart, in points."""
        one, other = self.differences.get("accuracy", (0.0, 0.0))
        return 100 * abs((one or 0.0) - (other or 0.0))

    @property
    def faults(self) -> Iterator[str]:
        """A sentence for each thing that a repeat must not change."""
        if self.first.status != self.second.status:
            yield f"it is {self.second.status} ({self.second.reason}), the record says {self.first.status}"
            return
        for what, (one, other) in self._shared().items():
            if one is not None and other != one:
                yield f"its {what} is {other}, the record says {one}"
        for name in self.beyond:
            one, other = self.differences[name]
            yield f"its {name} is {other}, the record says {one}"


def is_repeat(record: Outline, other: Outline) -> bool:
    """Whether two records of one id are two results of the same trial, with the same teacher, start and images.

    Not where one failed, or where one machine gave the same numbers: then one of them is enough.
    """
    if not (isinstance(record, Record) and isinstance(other, Record) and {record.status, other.status} <= FINAL):
        return False
    both = (record, other)
    if len({(r.teacher and r.teacher.weights, r.started_from, r.data and r.data.content) for r in both}) > 1:
        return False
    found = compared(record, other)
    return len(found.machines) > 1 or record.status != other.status or any(found.beyond)


def compared(first: Record, second: Record, tolerance: float = 0.0) -> Repeat:
    """Two results of one trial; ``tolerance`` is allowed between two kinds of machine (see `Repeat`)."""
    same = machine(first.environment) == machine(second.environment)
    return Repeat(first, second, EXACT if same else tolerance)


def machine(of: Environment | None) -> str:
    """The kind of machine that decides a result's last digits."""
    if of is None:
        return "an unknown machine"
    cpu = f", {of.processor}" if of.processor else ""
    return f"{of.device}{cpu}, {of.platform}, torch {of.torch}, threads {of.threads}"
