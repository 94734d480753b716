"""Merging the records of another leaderboard folder, with their tasks and networks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from jkbench.errors import Collector, UserError
from jkbench.files import write_atomically
from jkbench.records import tasks as recorded_tasks
from jkbench.records.repeats import is_repeat
from jkbench.records.store import Store, better
from jkbench.records.weights import described, is_whole


@dataclass
class Merged:
    """Of each task, how many records were new, better (results that replace failures), newer ones of the same trial,
    repeated (another result of a trial that has one: both are kept) or known; and the names of the networks that were
    copied. Of the folder, as it is now: which results contradict each other."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    networks: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    contradictions: list[str] = field(default_factory=list)


def merge(other: Path, home: Path) -> Merged:
    """Copy the records of ``other`` into ``home``; of two records of one trial the better is kept, then the newer.

    Of two results that differ, that of ``home`` stays and the other is kept beside it.

    `UserError` before anything is written: ``other`` is not a leaderboard folder, or it has a network or a task that
    differs from one of the same name in ``home``.
    """
    if other.resolve() == home.resolve():
        raise UserError(f"{other} is the leaderboard folder itself")
    theirs, ours, merged = Store(other), Store(home), Merged()
    if not theirs.tasks():
        raise UserError(f"there are no records in {other}", "name a leaderboard folder: it has records/ or inflight/")
    with Collector() as problems:
        for file in sorted((other / "teachers").glob("*.safetensors")):
            with problems.caught():
                _same_network(file, home / "teachers" / file.name)
        for file in sorted((other / "tasks").glob("*.toml")):
            with problems.caught():
                recorded_tasks.check_stored(str(file), home)
        for task in theirs.tasks():
            with problems.caught():
                _same_teachers(task, theirs, ours, home)
    ours.check_writable()
    for file in sorted((other / "teachers").glob("*.safetensors")):
        target = home / "teachers" / file.name
        if not target.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(target, file.read_bytes())
            merged.networks.append(file.stem)
    for file in sorted((other / "tasks").glob("*.toml")):
        recorded_tasks.keep(*recorded_tasks.planned(str(file), home), home)
    for task in theirs.tasks():
        loaded, mine = theirs.read(task), ours.read(task)
        merged.complaints += loaded.complaints()
        counts = merged.counts[task] = Counter()
        repeats = [record for record in loaded.repeats if record not in mine.repeats]
        for record in loaded.records.values():
            held = mine.records.get(record.id)
            what = "new"
            if held is not None:
                what = "known" if not better(record, held) else "newer" if record.status == held.status else "better"
                if is_repeat(record, held):
                    repeats += [] if record in mine.repeats else [record]
                    continue
            counts[what] += 1
            if what != "known":
                ours.put(record)
        if repeats:
            counts["repeated"] = len(repeats)
            ours.put_repeats(task, repeats)
        merged.contradictions += [each.contradiction for each in ours.fold(task).compared() if each.contradiction]
    return merged


def _same_teachers(task: str, theirs: Store, ours: Store, home: Path) -> None:
    """Refuse records whose teacher differs from the kept one of the same recipe, or from the records' at home."""
    known: dict[str, str] = {}
    for record in ours.read(task).records.values():
        if record.teacher is not None:
            known[record.teacher.recipe] = record.teacher.weights
    for record in theirs.read(task).records.values():
        if record.teacher is None:
            continue
        kept = described(home / "teachers" / f"teacher-{record.teacher.recipe}.safetensors")
        weights = kept.weights if kept else known.setdefault(record.teacher.recipe, record.teacher.weights)
        if record.teacher.weights != weights:
            raise UserError(
                f"{theirs.folder}: the records of {task} come from another teacher "
                f"(weights {record.teacher.weights}) than those here ({weights})",
                "use another leaderboard folder: a table has one teacher",
            )


def _same_network(file: Path, target: Path) -> None:
    theirs = described(file)
    if theirs is None or not is_whole(file):
        raise UserError(f"the network in {file} is damaged", "copy it again, or leave it out")
    held = described(target) if target.is_file() else theirs
    if held is None or held.weights != theirs.weights:
        raise UserError(
            f"{file} and {target} have the same recipe and different weights: their records cannot share a table",
            "run one of them again with the other's network (jkbench teacher import), or keep two leaderboards",
        )
