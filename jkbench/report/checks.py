"""One protocol a table: what may stand beside what, verified from the records themselves."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable
from operator import attrgetter

from jkbench.records.repeats import Repeat
from jkbench.records.schema import Record
from jkbench.report.wording import code, plural
from jkbench.tasks.shots import Shots, per_class, size
from jkbench.tasks.task import Task

_PAIRED = {"subset": "training images", "initial": "initial weights", "order": "order of batches"}


def one_protocol(task: Task, records: Iterable[Record]) -> tuple[list[Record], list[str]]:
    """The records that may share a table, and a sentence for each reason why others may not.

    Left out: another protocol than the task's; a teacher's weights or images that differ from most records' (of the
    newest where two are as common); of several records of one (label, shots, seed) all but the newest. Records that
    do not say (they failed early) stay: they hold no number.
    """
    kept, reasons = list(records), []
    same = [record for record in kept if record.protocol == task.protocol]
    if len(same) < len(kept):
        reasons.append(f"{plural(len(kept) - len(same), 'record')} left out: another protocol")
    kept = same
    parts: list[tuple[str, Callable[[Record], str | None]]] = [
        ("images (content hash)", lambda r: r.data.content if r.data else None),
        ("teacher weights", lambda r: r.teacher.weights if r.teacher else None),
    ]
    for what, read in parts:
        common = _most(kept, read)
        same = [record for record in kept if read(record) in (None, common)]
        if len(same) < len(kept):
            gone = plural(len(kept) - len(same), "record")
            reasons.append(f"{gone} left out: other {what} than `{common}`, which most have")
        kept = same
    single = {(r.label, r.shots, r.seed): r for r in sorted(kept, key=lambda r: (r.created, r.id))}
    if len(single) < len(kept):
        reasons.append(f"{plural(len(kept) - len(single), 'record')} left out: superseded by newer ones")
    return sorted(single.values(), key=lambda r: r.sort_key), reasons


def disagreements(task: Task, records: Iterable[Record]) -> list[str]:
    """A sentence for each thing that records of one table should share and do not; none when the table is sound."""
    shared = {name: words for name, words in _PAIRED.items() if not (task.budget and name == "order")}
    by_place: dict[tuple[Shots, int], list[Record]] = defaultdict(list)
    by_label: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_place[record.shots, record.seed].append(record)
        by_label[record.label].append(record)
    found = []
    for (shots, seed), group in sorted(by_place.items(), key=lambda item: (size(item[0][0]), item[0][1])):
        place = f"{per_class(shots)}, seed {seed}"
        for name, words in shared.items():
            odd = _odd([r for r in group if r.pairing], attrgetter(f"pairing.{name}"))
            if odd:
                found.append(f"{place}: the {words} of {odd} differ from the other methods'")
        odd = _odd(
            [r for r in group if not r.reference and r.status == "ok"], lambda r: r.cost.steps if r.cost else None
        )
        if odd and not task.budget:
            found.append(f"{place}: the number of steps of {odd} differs from the other methods'")
    for label, group in sorted(by_label.items()):
        if len({record.code for record in group}) > 1:
            found.append(f"the row `{label}` mixes records of different code")
        if len({json.dumps(record.parameters, sort_keys=True) for record in group}) > 1:
            found.append(f"the row `{label}` mixes records of different parameters")
        if len({record.started_from for record in group} - {None}) > 1:
            found.append(f"the row `{label}` mixes records that started from different pre-trained weights")
    return found


def contradictions(repeats: Iterable[Repeat]) -> list[str]:
    """A sentence for each trial that has two results on one kind of machine."""
    return [repeat.contradiction for repeat in repeats if repeat.contradiction]


def apart(repeats: Iterable[Repeat]) -> list[str]:
    """A sentence for each two kinds of machine that ran the same trials: how far their accuracies lie apart."""
    by_machines: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for repeat in repeats:
        if len(repeat.machines) > 1:
            by_machines[tuple(sorted(repeat.machines))].append(repeat.points)
    return [
        f"{plural(len(points), 'trial')} ran on two kinds of machine ({' and '.join(map(code, machines))}): accuracies "
        f"lie {sum(points) / len(points):.2f} points apart on average, {max(points):.2f} at most."
        for machines, points in sorted(by_machines.items())
    ]


def _odd(records: list[Record], read: Callable[[Record], Hashable | None]) -> str:
    """The labels whose value is not the most common one, as text."""
    if len({read(r) for r in records} - {None}) < 2:
        return ""
    common = _most(records, read)
    return ", ".join(sorted({f"`{r.label}`" for r in records if read(r) not in (None, common)}))


def _most(records: list[Record], read: Callable[[Record], Hashable | None]) -> Hashable | None:
    """The value that most records have; of two as common the newer, then the one that sorts last."""
    counts: Counter[Hashable] = Counter()
    newest: dict[Hashable, str] = {}
    for record in records:
        value = read(record)
        if value is not None:
            counts[value] += 1
            newest[value] = max(newest.get(value, ""), record.created)
    return max(counts, key=lambda v: (counts[v], newest[v], str(v)), default=None)
