"""The page of the measured transfer bound: tables by space, a figure, and what follows from the numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from jkbench.papers.theory import bound_figure
from jkbench.papers.theory.bound import Recorded, Regime, regimes
from jkbench.papers.theory.measured import COPIES, Large, MeasuredStudent, Side
from jkbench.report.document import Block, Bullets, Document, Drawing, Section, Words, rich, table
from jkbench.report.wording import DASH, code, measured, plural, ranges, signed, significant
from jkbench.statistics import Interval
from jkbench.tasks.shots import per_class
from jkbench.tasks.task import Images, Task

EMPTY, LOOSE = 10.0, 2.0
"""A bound that is never within the first factor of what it bounds explains nothing; within the second it is tight."""


def document(
    task: Task, label: str, students: Sequence[MeasuredStudent], large: Large, classes: int, found: Recorded
) -> Document:
    """``bound-TASK``, with a figure where a student has a bound: the same numbers give the same page."""
    spaces, name = regimes(students, classes, found), f"bound-{task.name}"
    silent = max((student.silent for student in students), default=0.0)
    seeds = ranges([student.trial.seed for student in students])
    gaps = _gaps(students, task, label, found)
    drawing = Drawing(
        name,
        "The bound and what it bounds, the distance, and the gain, by images per class",
        partial(bound_figure.draw, spaces, label, task),
    )
    blocks: list[Block] = [
        f"Proposition 3 of Srinivas & Fleuret (2018) on the task {code(task.name)}, with its own images and teacher, "
        f"and with the students that {code(label)} trains (seeds {seeds}):",
        "`E over D_l of rho ≤ max over D_s of rho + K·H(D_l, D_s)`",
        "Here rho is the squared distance between the teacher's logits and the student's source head, and D_s is the "
        "set of the student's few training images. H(D_l, D_s) is the largest distance from an image of D_l to its "
        "nearest neighbour in D_s.",
        _source(large, task),
        _sampled(large),
        rich(
            "K is the largest slope of rho over all pairs of an image of D_l with any other image of either set. *With "
            "copies*: H after adding a copy of every target image with noise of standard deviation {copies} "
            "(normalised pixels), which can only shorten it (the lemma). Numbers are means over seeds, *bound / E* is "
            "their range. Gains are in points of accuracy on test images, with 95 % intervals over the seeds in the "
            "leaderboard folder.",
            copies=COPIES,
        ),
        *([drawing] if spaces else []),
        *(table(_columns(task), map(_row, held), f"In {space}") for space, held in spaces.items()),
        Section("What follows, and what does not", tuple(findings(spaces, task, silent))),
        Section("What these numbers rest on", (Bullets(tuple(gaps)),)) if gaps else "",
    ]
    return Document(name, f"The transfer bound, measured: {task.title}", "`jkbench theory`", tuple(blocks))


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
    return DASH if gain is None else f"{measured(gain, sign=True)} (n = {gain.n})"


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


def _source(large: Large, task: Task) -> Words:
    sets = " and ".join(f"all training images of {_named(images)}" for images in large.of)
    if large.own:
        return f"D_l, the source, is {sets}, on which the teacher was trained: {plural(large.total, 'image')}."
    return rich(
        "The training images of {task}'s teacher are not available, so H from its source cannot be measured. **Another "
        "large set serves as D_l**: {sets}, {images}. The proposition holds for any set; these results are about this "
        "one.",
        task=code(task.name),
        sets=sets,
        images=plural(large.total, "image"),
    )


def _sampled(large: Large) -> str:
    if not large.sampled:
        return ""
    return (
        f"A random sample of {len(large.images):,} of these images is used. H is a supremum, so over a sample it is a "
        "lower estimate of the whole set's, and so is K. The mean is unbiased."
    )


def findings(spaces: dict[str, list[Regime]], task: Task, silent: float) -> list[Words]:
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


def _holding(sides: Sequence[Side]) -> Words:
    failed = [side for side in sides if not side.holds]
    if failed:
        return rich(
            "**The bound fails** in {failed} of {cases} (a student in a space): images that coincide in the space have "
            "different rho there, so no K exists.",
            failed=len(failed),
            cases=plural(len(sides), "case"),
        )
    return (
        f"The bound holds in all {plural(len(sides), 'case')} (a student in a space). This is true by construction: K "
        "is the largest slope between these very images. For other images K is a lower estimate. In the teacher's "
        "features there may be no K at all, because the student is not a function of them."
    )


def _looseness(spaces: dict[str, list[Regime]]) -> Words:
    factors = {space: [s.factor for regime in held for s in regime.sides] for space, held in spaces.items()}
    best = min(min(values) for values in factors.values())
    parts = ", ".join(f"{_range(values)} in {space}" for space, values in factors.items())
    if best >= EMPTY:
        end = (
            "Even at its tightest it would hold for a student {times} times as far from the teacher on the source: "
            "**it explains nothing** about that distance."
        )
    elif best >= LOOSE:
        end = "At its tightest, {times} times, it gives no more than an order of magnitude."
    else:
        end = "At its tightest, {times} times, it is close to what it bounds."
    return rich("The right side as a multiple of the left: {parts}. " + end, parts=parts, times=significant(best))


def _references(spaces: dict[str, list[Regime]], silent: float) -> Words:
    """What one knows without the bound: the largest rho on the source, and a student that says nothing."""
    parts = []
    for space, held in spaces.items():
        sides = [side for regime in held for side in regime.sides]
        parts.append(f"{sum(side.empty for side in sides)} of {len(sides)} cases in {space}")
    sides = [side for held in spaces.values() for regime in held for side in regime.sides]
    beyond = sum(side.right >= silent for side in sides)
    return rich(
        "E can never exceed the largest rho on the source, whatever the student learnt. The bound is no smaller than "
        "that in {parts}"
        + (": **it says less than that one number**. " if all(side.empty for side in sides) else ". ")
        + "A student whose source head is zero everywhere has E = {silent}; in {beyond} of {cases} the bound does not "
        "exclude it.",
        parts=", ".join(parts),
        silent=significant(silent),
        beyond=beyond,
        cases=plural(len(sides), "case"),
    )


def _parts(spaces: dict[str, list[Regime]]) -> str:
    shares = {
        space: [100 * s.slope * s.distance / s.right for regime in held for s in regime.sides if s.right]
        for space, held in spaces.items()
    }
    parts = ", ".join(f"{_percent(values)} in {space}" for space, values in shares.items() if values)
    one = [side for regime in next(iter(spaces.values())) for side in regime.sides]
    needed = sum(side.target_max < side.source_mean for side in one)
    end = (
        f"It is needed for {needed} of {plural(len(one), 'student')}, for which the maximum over the target is below E."
        if needed
        else "It is never needed: the maximum over the target is above E for every student."
    )
    return f"The share of K·H in the right side: {parts or 'none'}. {end}"


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
    text += "both move in the same direction. " if same else "they do not move in the same direction. "
    return text + f"Noisy copies shorten H by {_percent(copies) if copies else 'nothing'}."


def _gains(held: Sequence[Regime], task: Task) -> list[str]:
    known = [(regime, regime.gain) for regime in held if regime.gain is not None]
    if not known:
        return []
    wide = [gain for _, gain in known if gain.half_width is not None]
    above = sum(gain.mean - (gain.half_width or 0) > 0 for gain in wide)
    below = sum(gain.mean + (gain.half_width or 0) < 0 for gain in wide)
    text = (
        f"The interval of the gain over {code(task.baseline)} lies above zero in {above} of "
        f"{plural(len(known), 'regime')} and below zero in {below}. "
    )
    (first, a), (last, b) = known[0], known[-1]
    if len(known) > 1:
        text += f"From {per_class(first.shots)} to {per_class(last.shots)} the gain changes from {signed(a.mean)} to "
        text += f"{signed(b.mean)} points"
        if a.half_width is None or b.half_width is None:
            text += "; without intervals nothing follows from this. "
        elif abs(a.mean - b.mean) <= a.half_width + b.half_width:
            text += ", with overlapping intervals: no relation to H is visible. "
        else:
            closer = last.mean("distance") < first.mean("distance")
            text += (
                f": it {'grows' if b.mean > a.mean else 'shrinks'} while H {'falls' if closer else 'does not fall'}. "
            )
    return [text + "The proposition does not predict it: it bounds logits on the source, not accuracy on the target."]


def _gaps(students: Sequence[MeasuredStudent], task: Task, label: str, found: Recorded) -> list[str]:
    """What is missing, and whether the students are those of the records."""
    parts = []
    if label == task.baseline:
        parts.append(f"{code(label)} is the baseline itself: there is no gain to show.")
    else:
        without = [s for s in dict.fromkeys(student.shots for student in students) if s not in found.gains]
        if without:
            parts.append(
                f"No gain at {', '.join(map(per_class, without))}: the leaderboard folder has no records of both "
                f"{code(label)} and {code(task.baseline)} there."
            )
    lost = [f"{per_class(s.shots)}, seed {s.trial.seed}" for s in students if s.accuracy is None]
    if lost:
        parts.append(f"These students diverged and have no bound: {'; '.join(lost)}.")
    pairs = [
        (student.accuracy, found.accuracies[student.trial.id])
        for student in students
        if student.accuracy is not None and student.trial.id in found.accuracies
    ]
    if pairs:
        apart = [abs(mine - theirs) for mine, theirs in pairs if mine != theirs]
        text = (
            f"{len(pairs) - len(apart)} of the {plural(len(pairs), 'student')} with a record have exactly its accuracy"
        )
        parts.append(text + (f"; the others differ by at most {100 * max(apart):.2f} points." if apart else "."))
    return parts
