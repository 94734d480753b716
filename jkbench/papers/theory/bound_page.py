"""The page of the measured transfer bound: tables by space, a figure, and what follows from the numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from jkbench.files import write_atomically
from jkbench.papers.theory import bound_figure
from jkbench.papers.theory.measured import COPIES, Large, MeasuredStudent, Side
from jkbench.plugins.discovery import Index
from jkbench.records.select import choose
from jkbench.records.store import RecordSet
from jkbench.report import analysis
from jkbench.report.checks import one_protocol
from jkbench.report.grid import Column, arrange
from jkbench.report.markup import render_markdown
from jkbench.report.wording import DASH, code, plural, ranges, significant
from jkbench.statistics import Interval
from jkbench.tasks.shots import Shots, per_class
from jkbench.tasks.task import Images, Task

EMPTY, LOOSE = 10.0, 2.0
"""A bound that is never within the first factor of what it bounds explains nothing; within the second it is tight."""


@dataclass(frozen=True)
class Recorded:
    """What the records say of a row: gains over the baseline by regime, and each trial's accuracy by its id."""

    gains: dict[Shots, Interval] = field(default_factory=dict)
    accuracies: dict[str, float] = field(default_factory=dict)


def recorded(task: Task, index: Index, loaded: RecordSet, label: str) -> Recorded:
    """The row's gains over the task's baseline, in points, and its accuracies, from current records on test images."""
    chosen = choose(task, index, loaded, labels=[label, task.baseline])
    records, _ = one_protocol(task, chosen.records)
    cells = analysis.gains(arrange(task, records), task.baseline).cells
    gains = {
        column.shots: Interval(
            100 * gain.interval.mean, gain.interval.half_width and 100 * gain.interval.half_width, gain.interval.n
        )
        for (row, column), gain in cells.items()
        if row == label and column == Column(column.shots, "accuracy")
    }
    accuracies = {
        record.id: record.metrics["accuracy"] for record in records if record.label == label and record.status == "ok"
    }
    return Recorded(gains, accuracies)


@dataclass(frozen=True)
class Regime:
    """One regime in one space: its students' bounds, and the gain that records have."""

    shots: Shots
    images: int
    classes: int
    sides: tuple[Side, ...]
    gain: Interval | None

    def mean(self, name: str) -> float:
        """The mean of a side's number over seeds."""
        return fmean(float(getattr(side, name)) for side in self.sides)


def regimes(students: Iterable[MeasuredStudent], classes: int, found: Recorded) -> dict[str, list[Regime]]:
    """By space, the regimes that have a student, in the order they were measured."""
    groups: dict[str, dict[Shots, list[tuple[int, Side]]]] = {}
    for student in students:
        for side in student.sides:
            groups.setdefault(side.space, {}).setdefault(student.shots, []).append((student.images, side))
    return {
        space: [
            Regime(shots, held[0][0], classes, tuple(side for _, side in held), found.gains.get(shots))
            for shots, held in by_shots.items()
        ]
        for space, by_shots in groups.items()
    }


def write(
    folder: Path,
    task: Task,
    label: str,
    students: Sequence[MeasuredStudent],
    large: Large,
    classes: int,
    found: Recorded,
) -> list[Path]:
    """Write ``bound-TASK.md``, and ``bound-TASK.png`` where a student has a bound: the same numbers, the same bytes."""
    spaces, name = regimes(students, classes, found), f"bound-{task.name}"
    silent = max((student.silent for student in students), default=0.0)
    page = render_markdown(
        "bound.md.j2",
        task=task,
        label=label,
        name=name,
        spaces=spaces,
        copies=COPIES,
        columns=_columns(task),
        rows={space: [_row(regime) for regime in held] for space, held in spaces.items()},
        seeds=ranges([student.trial.seed for student in students]),
        source=_source(large, task),
        sampled=_sampled(large),
        findings=findings(spaces, task, silent),
        gaps=_gaps(students, task, label, found),
    )
    files: dict[str, str | bytes] = {f"{name}.md": page}
    if spaces:
        files[f"{name}.png"] = bound_figure.draw(spaces, label, task)
    written = []
    for file, content in files.items():
        write_atomically(folder / file, content)
        written.append(folder / file)
    return written


def _columns(task: Task) -> list[str]:
    head = ["regime", "images", "H", "H with copies", "K", "max target", "E source", "bound", "bound / E"]
    return [*head, f"gain over {code(task.baseline)}"]


def _row(regime: Regime) -> list[str]:
    numbers = ("distance", "distance_with_copies", "slope", "target_max", "source_mean", "right")
    return [
        per_class(regime.shots),
        f"{regime.images:,}",
        *(significant(regime.mean(name)) for name in numbers),
        _range(side.factor for side in regime.sides),
        _gain(regime.gain),
    ]


def _gain(gain: Interval | None) -> str:
    if gain is None:
        return DASH
    text = f"{gain.mean:+.2f}" + ("" if gain.half_width is None else f" ± {gain.half_width:.2f}")
    return f"{text} (n = {gain.n})".replace("-", "−")


def _range(values: Iterable[float], words: Callable[[float], str] = significant) -> str:
    """``12.3–45.6``, or one number where both ends read the same."""
    held = list(values)
    low, high = words(min(held)), words(max(held))
    return low if low == high else f"{low}–{high}"


def _percent(values: Iterable[float]) -> str:
    return f"{_range(values, lambda share: f'{share:.1f}')} %"


def _named(images: Images) -> str:
    if images.classes is None:
        return code(images.dataset)
    return f"{code(images.dataset)} (its classes {', '.join(map(str, images.classes))})"


def _source(large: Large, task: Task) -> str:
    sets = " and ".join(f"all training images of {_named(images)}" for images in large.of)
    if large.own:
        return f"D_l, the source, is {sets}, which the teacher was trained on: {plural(large.total, 'image')}."
    return (
        f"What the teacher of {code(task.name)} was trained on is not at hand, so H from its source cannot be "
        f"measured. **In its place, as D_l, stands another large set**: {sets}, {plural(large.total, 'image')}. The "
        "proposition holds for any set; what is said here is said of this one."
    )


def _sampled(large: Large) -> str:
    if not large.sampled:
        return ""
    return (
        f"Of these {len(large.images):,} are looked at, drawn from a named stream. H is a supremum: over a part of the "
        "set it is a lower estimate of the whole set's, and so is K. The mean is an estimate without bias."
    )


def findings(spaces: dict[str, list[Regime]], task: Task, silent: float) -> list[str]:
    """What follows from the numbers, and what does not; a paragraph an entry."""
    if not spaces:
        return ["Nothing: no student has finished."]
    every = [side for held in spaces.values() for regime in held for side in regime.sides]
    return [
        _holding(every),
        _looseness(spaces),
        _references(spaces, silent),
        _parts(spaces),
        *(_movement(space, held) for space, held in spaces.items() if len(held) > 1),
        *_gains(next(iter(spaces.values())), task),
    ]


def _holding(sides: Sequence[Side]) -> str:
    failed = [side for side in sides if not side.holds]
    if failed:
        return (
            f"**The bound fails** in {len(failed)} of {plural(len(sides), 'case')} (a student in a space): there, "
            "images that lie on one point have different rho, so that no K exists."
        )
    return (
        f"The bound holds in {plural(len(sides), 'case')} of {len(sides)} (a student in a space). That is no finding: "
        "K is the largest slope between these very images, so on them it holds by construction. For images that were "
        "not looked at K is a lower estimate. In the teacher's features there need be no K at all: the student is no "
        "function of them."
    )


def _looseness(spaces: dict[str, list[Regime]]) -> str:
    factors = {space: [s.factor for regime in held for s in regime.sides] for space, held in spaces.items()}
    told = ", ".join(f"{_range(values)} times in {space}" for space, values in factors.items())
    best = min(min(values) for values in factors.values())
    times = significant(best)
    if best >= EMPTY:
        end = (
            f"At its tightest it would hold as well if the student were {times} times as far from the teacher on the "
            "source: **it explains nothing** about how far it is."
        )
    elif best >= LOOSE:
        end = f"At its tightest, {times} times, it gives no more than an order of magnitude."
    else:
        end = f"At its tightest, {times} times, it is close to what it bounds."
    return f"What lies on the right is, as a multiple of what it bounds: {told}. {end}"


def _references(spaces: dict[str, list[Regime]], silent: float) -> str:
    """What one knows without the bound: the largest rho on the source, and a student that says nothing."""
    told = []
    for space, held in spaces.items():
        sides = [side for regime in held for side in regime.sides]
        told.append(f"{sum(side.empty for side in sides)} of {len(sides)} in {space}")
    sides = [side for held in spaces.values() for regime in held for side in regime.sides]
    beyond = sum(side.right >= silent for side in sides)
    text = (
        "E can never exceed the largest rho on the source, whatever the student learnt. The bound lies at or above "
        f"that for {', '.join(told)}"
    )
    text += ": **it says less than that one number**. " if all(side.empty for side in sides) else ". "
    return text + (
        f"A student whose source head says zero everywhere has E = {significant(silent)}; in {beyond} of "
        f"{plural(len(sides), 'case')} the bound does not exclude it."
    )


def _parts(spaces: dict[str, list[Regime]]) -> str:
    shares = {
        space: [100 * s.slope * s.distance / s.right for regime in held for s in regime.sides if s.right]
        for space, held in spaces.items()
    }
    told = ", ".join(f"{_percent(values)} in {space}" for space, values in shares.items() if values)
    held = next(iter(spaces.values()))
    one = [side for regime in held for side in regime.sides]
    needed = sum(side.target_max < side.source_mean for side in one)
    end = (
        f"It is needed for {needed} of {plural(len(one), 'student')}: there the maximum over the target lies below E."
        if needed
        else "It is never needed: the maximum over the target lies above E for every student."
    )
    return f"Of the right side, K·H makes up {told or 'nothing'}. {end}"


def _movement(space: str, held: Sequence[Regime]) -> str:
    """From the first regime to the last: the distance, the bound and what it bounds."""
    first, last = held[0], held[-1]

    def way(name: str) -> float:
        return last.mean(name) - first.mean(name)

    def ends(name: str) -> str:
        if way(name) == 0:
            return f"stays at {significant(first.mean(name))}"
        verb = "falls" if way(name) < 0 else "rises"
        return f"{verb} from {significant(first.mean(name))} to {significant(last.mean(name))}"

    copies = [100 * (1 - s.distance_with_copies / s.distance) for r in held for s in r.sides if s.distance]
    text = (
        f"In {space}, from {per_class(first.shots)} to {per_class(last.shots)}, H {ends('distance')}, the bound "
        f"{ends('right')}, and E over the source {ends('source_mean')}: "
    )
    same = way("right") * way("source_mean") > 0
    text += "the bound and E go the same way. " if same else "the bound and E do not go the same way. "
    shrunk = _percent(copies) if copies else "nothing"
    return text + f"Noisy copies shorten H by {shrunk}."


def _gains(held: Sequence[Regime], task: Task) -> list[str]:
    known = [(regime, regime.gain) for regime in held if regime.gain is not None]
    if not known:
        return []
    wide = [gain for _, gain in known if gain.half_width is not None]
    above = sum(gain.mean - (gain.half_width or 0) > 0 for gain in wide)
    below = sum(gain.mean + (gain.half_width or 0) < 0 for gain in wide)
    text = (
        f"The measured gain over {code(task.baseline)} lies above zero with its whole interval in {above} of "
        f"{plural(len(known), 'regime')}, below in {below}. "
    )
    (first, a), (last, b) = known[0], known[-1]
    if len(known) > 1:
        text += (
            f"From {per_class(first.shots)} to {per_class(last.shots)} it goes from {_points(a)} to {_points(b)} points"
        )
        if a.half_width is None or b.half_width is None:
            text += "; without intervals nothing follows from that. "
        elif abs(a.mean - b.mean) <= a.half_width + b.half_width:
            text += ", whose intervals overlap: the gain does not visibly follow H. "
        else:
            closer = last.mean("distance") < first.mean("distance")
            text += (
                f": it {'grows' if b.mean > a.mean else 'shrinks'} while H {'falls' if closer else 'does not fall'}. "
            )
    return [text + "The proposition says nothing about it: it bounds logits on the source, not accuracy on the target."]


def _points(gain: Interval) -> str:
    return f"{gain.mean:+.2f}".replace("-", "−")


def _gaps(students: Sequence[MeasuredStudent], task: Task, label: str, found: Recorded) -> list[str]:
    """What is missing, and whether the students are those of the records."""
    told = []
    if label == task.baseline:
        told.append(f"{code(label)} is the baseline itself: there is no gain to show.")
    else:
        without = [s for s in dict.fromkeys(student.shots for student in students) if s not in found.gains]
        if without:
            told.append(
                f"No gain at {', '.join(map(per_class, without))}: the leaderboard folder has no records there of both "
                f"{code(label)} and {code(task.baseline)}."
            )
    lost = [f"{per_class(s.shots)}, seed {s.trial.seed}" for s in students if s.accuracy is None]
    if lost:
        told.append(f"Diverged, and without a bound: {'; '.join(lost)}.")
    pairs = [
        (student.accuracy, found.accuracies[student.trial.id])
        for student in students
        if student.accuracy is not None and student.trial.id in found.accuracies
    ]
    if pairs:
        apart = [abs(mine - theirs) for mine, theirs in pairs if mine != theirs]
        text = (
            f"{len(pairs) - len(apart)} of the {plural(len(pairs), 'student')} with a record have its accuracy exactly"
        )
        told.append(text + (f"; the others differ by at most {100 * max(apart):.2f} points." if apart else "."))
    return told
