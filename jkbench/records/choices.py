"""What tuning chose: ``choices/TASK.json`` beside the records, made from validation records alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from jkbench.errors import UserError
from jkbench.files import write_atomically
from jkbench.plugins import parameters
from jkbench.plugins.describe import Plugin
from jkbench.plugins.ranges import Range
from jkbench.records import written
from jkbench.records.schema import Record
from jkbench.records.written import OfTask, Portion
from jkbench.tasks.shots import Shots, per_class
from jkbench.tasks.task import Task

Origin = Literal["task", "default", "tuned"]
"""Where a row's parameters come from: the task's file, the method's file, or tuning."""


class Tried(Portion):
    """One configuration, with its mean validation accuracy over seeds in each regime; None: a trial diverged."""

    parameters: dict[str, Any]
    accuracy: tuple[float | None, ...]

    def mean(self, places: Sequence[int]) -> float:
        """Over these regimes; a configuration that diverged in one of them counts as 0."""
        values = [self.accuracy[place] for place in places]
        return sum(v for v in values if v is not None) / len(values) if None not in values else 0.0


class Choice(Portion):
    """The best configuration of some regimes. ``edge``: parameters at an end of their range, and which end."""

    shots: tuple[Shots, ...]
    parameters: dict[str, Any]
    accuracy: float
    edge: dict[str, str]


class Tuned(Portion):
    """One method: the ranges of both rounds as (low, high), all configurations in order, and what was chosen."""

    code: str
    ranges: dict[str, tuple[float, float]]
    widened: dict[str, tuple[float, float]]
    tried: tuple[Tried, ...]
    chosen: tuple[Choice, ...]

    @property
    def default(self) -> dict[str, Any]:
        """The method's own parameters: the first that were tried."""
        return self.tried[0].parameters

    def at(self, shots: Shots) -> dict[str, Any] | None:
        """The parameters for a regime: one choice serves all of them, else each has its own."""
        found = [choice.parameters for choice in self.chosen if len(self.chosen) == 1 or shots in choice.shots]
        return found[0] if found else None


class Choices(OfTask):
    """What tuning chose in one task, and how. ``budget``: configurations a method."""

    per: Literal["task", "regime"]
    budget: int
    shots: tuple[Shots, ...]
    seeds: tuple[int, ...]
    given: dict[str, tuple[float, float]] = Field(default_factory=dict)
    """Ranges that the command line gave in place of the methods' own."""
    methods: dict[str, Tuned]

    @property
    def name(self) -> str:
        """``tuned@16``."""
        return f"tuned@{self.budget}"

    @property
    def how(self) -> dict[str, Any]:
        """All that methods share: another method is added only if it was tuned alike."""
        return self.model_dump(exclude={"methods"})

    @property
    def in_words(self) -> str:
        """How parameters were chosen, in sentences that hold for every method."""
        fixed = sorted(name for name, tuned in self.methods.items() if not tuned.ranges)
        scope = "one choice for all regimes" if self.per == "task" else "a choice for each regime"
        text = (
            "The first configuration is the method's own. The others set all tunable parameters at once, drawn from "
            "the declared ranges; for the last third, ranges are widened where the best lay at an edge. Parameters of "
            "the same name have the same draws in every method. The best has the highest mean accuracy on validation "
            f"images, at {per_class(*self.shots)}, over seeds {', '.join(map(str, self.seeds))}, which no table uses: "
            f"{scope}. Ties go to the default, then to the smaller value."
        )
        return text + (f" Nothing to tune: {', '.join(f'`{name}`' for name in fixed)}." if fixed else "")

    def parameters(self, origin: Origin, method: str, shots: Shots) -> dict[str, Any] | None:
        """A method's parameters of that origin; None where it was not tuned."""
        tuned = self.methods.get(method)
        if tuned is None:
            return None
        return tuned.default if origin == "default" else tuned.at(shots)


def path_of(folder: Path, task: str) -> Path:
    """Where a task's choices are stored."""
    return written.path_of(folder, "choices", task)


def read(task: Task, *folders: Path) -> Choices | None:
    """The choices of a task, of the first folder that has them; None without. `UserError` for a damaged file."""
    return written.read(Choices, "choices", "jkbench tune", task, *folders)


def write(folder: Path, choices: Choices) -> Path:
    """Keep the choices of a task, methods in alphabetical order."""
    path = path_of(folder, choices.task)
    ordered = choices.model_copy(update={"methods": dict(sorted(choices.methods.items()))})
    write_atomically(path, ordered.model_dump_json(indent=1) + "\n")
    return path


def lines(choices: Choices) -> list[str]:
    """What was chosen, one line a method and choice; a winner at the edge of its range is said to be there."""
    lines = []
    for name, tuned in choices.methods.items():
        for choice in tuned.chosen:
            values = {key: value for key, value in choice.parameters.items() if key in tuned.ranges}
            text = f"{name}, {per_class(*choice.shots)}: {', '.join(parameters.written(values)) or 'nothing to tune'}"
            own = tuned.tried[0].mean([choices.shots.index(each) for each in choice.shots])
            text += f" ({100 * choice.accuracy:.2f} % on validation images, by default {100 * own:.2f})"
            lines.append(text + "".join(f"; {key} lies at the {side} edge" for key, side in choice.edge.items()))
    return lines


def of_origin(origin: Origin, task: Task, *folders: Path) -> Callable[[Plugin, Shots], dict[str, Any]] | None:
    """What gives a plan its parameters; None where they are the task's. `UserError` for what was not tuned."""
    if origin == "task":
        return None
    if origin == "default":
        return lambda plugin, shots: parameters.validate(plugin, {})
    choices = read(task, *folders)

    def tuned(plugin: Plugin, shots: Shots) -> dict[str, Any]:
        found = None if choices is None else choices.parameters("tuned", plugin.name, shots)
        hint = f"jkbench tune --methods {plugin.name} --task {task.name}"
        if choices is None or found is None:
            raise UserError(f"{plugin.name} was not tuned on {task.name} at {per_class(shots)}", hint)
        if choices.methods[plugin.name].code != plugin.code:
            raise UserError(f"{plugin.name} has changed since it was tuned on {task.name}", hint)
        return found

    return tuned


def score(record: Record) -> float | None:
    """What tuning compares: the mean of the accuracies on clean and on noisy images; None where it diverged."""
    values = [value for name, value in record.metrics.items() if name.partition("@")[0] == "accuracy"]
    return sum(values) / len(values) if record.status == "ok" and values else None


def tried(settings: dict[str, Any], records: Mapping[Shots, Iterable[Record]]) -> Tried:
    """One configuration by its validation records in each regime."""
    means: list[float | None] = []
    for group in records.values():
        scores = [score(record) for record in group]
        known = [each for each in scores if each is not None]
        # rounding keeps ties ties: accuracies are counts over the validation images
        means.append(round(sum(known) / len(known), 9) if len(known) == len(scores) > 0 else None)
    return Tried(parameters=settings, accuracy=tuple(means))


def choose(
    every: Sequence[Tried], shots: Sequence[Shots], per: str, ranges: Mapping[str, Range], margin: float
) -> tuple[Choice, ...]:
    """The best configuration, of all regimes or of each: ties go to the default, which is the first, then to the
    smaller values. ``margin``: the outer share of a range that is its edge."""
    found = []
    for group in [tuple(shots)] if per == "task" else [(each,) for each in shots]:
        places = [list(shots).index(each) for each in group]

        def rank(at: int, places: Sequence[int] = tuple(places)) -> tuple[float, bool, list[float]]:
            return -round(every[at].mean(places), 9), at > 0, [every[at].parameters[name] for name in ranges]

        best = every[min(range(len(every)), key=rank)]
        sides = {name: each.side(best.parameters[name], margin) for name, each in ranges.items()}
        edge = {name: side for name, side in sides.items() if side}
        mean = round(best.mean(places), 9)
        found.append(Choice(shots=group, parameters=best.parameters, accuracy=mean, edge=edge))
    return tuple(found)
