"""Where records are stored.

``records/TASK/METHOD.jsonl``
    canonical and committed: one record a line, sorted, the same bytes for the same records.
``inflight/TASK/METHOD/ID.json``
    what a run has finished and not folded yet: one file a trial, written atomically.
``repeats/TASK/METHOD.jsonl``
    further results of trials that have a record: on another machine, or in contradiction to it.

A kill at any moment loses at most the trial that is running. Two branches that add records of one file merge by
keeping both sides (``merge=union`` in .gitattributes); the next fold sorts and drops duplicates.
"""

from __future__ import annotations

import gc
import json
import re
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import ValidationError

from jkbench.errors import TOO_DEEP, UserError
from jkbench.files import locked, write_atomically, writing
from jkbench.records.repeats import Repeat, compared, is_repeat
from jkbench.records.schema import SCHEMA_VERSION, Outline, Record
from jkbench.tasks.task import NAME

_RANK = {"ok": 3, "diverged": 2, "timeout": 1, "oom": 1, "failed": 0}
R = TypeVar("R", bound=Outline)


@dataclass
class RecordSet(Generic[R]):
    """The records of one task by id, what could not be read (file, line or 0, reason), and further results of an id."""

    records: dict[str, R] = field(default_factory=dict)
    unreadable: list[tuple[Path, int, str]] = field(default_factory=list)
    repeats: list[R] = field(default_factory=list)

    def add(self, record: R) -> None:
        """Keep the better of two records of one id: a result before a failure, then the newer.

        Of two results that differ the earlier stays, and the other is a repeat.
        """
        other = self.records.get(record.id)
        if other is not None and is_repeat(record, other):
            first, second = sorted((record, other), key=lambda each: each.created)
            self.records[record.id] = first
            self.repeats.append(second)
        elif other is None or better(record, other):
            self.records[record.id] = record

    def compared(self) -> Iterator[Repeat]:
        """The repeats, each beside the record of its trial."""
        for repeat in self.repeats:
            held = self.records.get(repeat.id)
            if isinstance(held, Record) and isinstance(repeat, Record):
                yield compared(held, repeat)

    def complaints(self) -> list[str]:
        """One sentence for each thing that could not be read, and for each contradiction."""
        parts = [f"{path}{f':{line}' if line else ''}: {why}" for path, line, why in self.unreadable]
        return parts + [repeat.contradiction for repeat in self.compared() if repeat.contradiction]


def better(record: Outline, other: Outline) -> bool:
    """Whether the first of two records of one trial is the one to keep."""
    return _preference(record) > _preference(other)


def dated_after(record: Record, other: Outline | None) -> Record:
    """A record that replaces ``other``, dated after it even where the clock has jumped back."""
    if other is None or record.created > other.created:
        return record
    try:
        moment = datetime.fromisoformat(other.created) + timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        return record
    return record.model_copy(update={"created": moment.isoformat(timespec="milliseconds")})


def _preference(record: Outline) -> tuple[int, str]:
    return (_RANK[record.status], record.created)


def encode(record: Record) -> str:
    """A record as one canonical line, without its end."""
    content = record.model_dump(mode="json", exclude_defaults=True) | {"schema_version": record.schema_version}
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def decode(text: str, kind: type[R]) -> R:
    """A record, or its outline, from its line; ValueError says in one sentence what is wrong with it."""
    try:
        return kind.model_validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
    try:
        content = json.loads(text)
    except (ValueError, *TOO_DEEP):
        raise ValueError("not a record: the JSON is truncated or damaged") from None
    if not isinstance(content, dict) or "id" not in content:
        raise ValueError("not a record of jkbench: it has no id")
    if content.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(f"a record of schema {content.get('schema_version')!r}, which this version does not read")
    why = first["msg"].removeprefix("Value error, ")
    if first["type"] == "string_pattern_mismatch":
        why = f"{first['input']!r} is not valid here"
    raise ValueError(f"not a record: {'.'.join(map(str, first['loc']))}: {why}")


@contextmanager
def _no_collection() -> Iterator[None]:
    """Reading makes many objects and no cycles: looking for cycles in them took most of the time, then and later."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was:
            gc.enable()


class Store:
    """The records of one leaderboard folder, and those of folders beside it, which are read and never written."""

    def __init__(self, folder: Path, beside: Sequence[Path] = ()) -> None:
        self.folder = folder
        self.folders = (folder, *beside)
        self.canonical = folder / "records"
        self.inflight = folder / "inflight"

    def tasks(self) -> list[str]:
        """Names of the tasks that have records."""
        return sorted({path.name for path in self._task_folders() if re.fullmatch(NAME, path.name)})

    def complaints(self) -> list[str]:
        """One sentence for each folder among those of the tasks that is none."""
        return [f"{path}: not a task's name; skipping its records" for path in self._task_folders()
                if not re.fullmatch(NAME, path.name)]  # fmt: skip

    def _task_folders(self) -> list[Path]:
        bases = [folder / name for folder in self.folders for name in ("records", "inflight")]
        found = [path for base in bases if base.is_dir() for path in sorted(base.iterdir()) if path.is_dir()]
        return [path for path in found if any(path.rglob("*.json*"))]

    def check_writable(self) -> None:
        """Refuse a folder that cannot be written before anything is trained."""
        try:
            self.inflight.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.inflight):
                pass
        except OSError as error:
            raise UserError(
                f"the leaderboard folder {self.folder} cannot be written: {error.strerror}",
                "give another with --leaderboard DIR",
            ) from None

    def read(self, task: str) -> RecordSet[Record]:
        """All records of a task, every field checked."""
        return self._read(task, self.folders, Record)

    def outlines(self, task: str) -> RecordSet[Outline]:
        """All records of a task, with the fields that counting and resuming need; the others are not checked."""
        return self._read(task, self.folders, Outline)

    @staticmethod
    def _read(task: str, folders: Sequence[Path], kind: type[R]) -> RecordSet[R]:
        """Records, folded or not. What a fold moves meanwhile is seen in one place or the other."""
        loaded = RecordSet[R]()
        with _no_collection():
            for folder in folders:
                for path in sorted((folder / "inflight" / task).glob("*/*.json")):
                    _read_inflight(path, loaded, kind)
                for path in sorted((folder / "records" / task).glob("*.jsonl")):
                    _read_lines(path, loaded, kind)
                _read_repeats(folder, task, loaded, kind)
                loaded.unreadable += _strangers(folder, task)
        return loaded

    def put(self, record: Record) -> Path:
        """Keep a finished trial at once, atomically."""
        path = self.inflight / record.task / record.method / f"{record.id}.json"
        write_atomically(path, encode(record) + "\n")
        return path

    def put_repeats(self, task: str, records: Sequence[Record]) -> None:
        """Keep further results of trials that have a record."""
        with locked(self.inflight / ".lock"):
            self._put_repeats(task, records)

    def _put_repeats(self, task: str, records: Sequence[Record]) -> None:
        for method in sorted({record.method for record in records}):
            path, held = self.folder / "repeats" / task / f"{method}.jsonl", _Repeats[Record]()
            if path.is_file():
                _read_lines(path, held, Record)
                if held.unreadable:
                    raise UserError(held.complaints()[0], "fix that line first: the file is rewritten")
            every = {encode(each): each for each in [*held.repeats, *records] if each.method == method}
            ordered = sorted(every, key=lambda line: (every[line].sort_key, every[line].created, line))
            write_atomically(path, "".join(line + "\n" for line in ordered))

    def fold(self, task: str) -> RecordSet[Record]:
        """Move what is in flight into the canonical files; all records of the task, those beside too.

        A file with an unreadable line is left as it is, with its in-flight records beside it, until somebody
        mends it: the result says where. Nothing readable is ever dropped.
        """
        whole = RecordSet[Record]()
        self.check_writable()
        with locked(self.inflight / ".lock"), writing(self.folder), _no_collection():
            methods = {path.stem for path in (self.canonical / task).glob("*.jsonl")}
            methods |= {path.name for path in (self.inflight / task).glob("*") if path.is_dir()}
            for method in sorted(methods):
                self._fold_file(task, method, whole)
        _read_repeats(self.folder, task, whole, Record)
        whole.unreadable += _strangers(self.folder, task)
        beside = self._read(task, self.folders[1:], Record)
        for record in beside.records.values():
            whole.add(record)
        whole.repeats += beside.repeats
        whole.unreadable += beside.unreadable
        return whole

    def remove(self, task: str, ids: Collection[str]) -> None:
        """Remove records of this folder, by their ids. `UserError` where one of their files has an unreadable line."""
        with locked(self.inflight / ".lock"), writing(self.folder):
            for path in sorted((self.inflight / task).glob("*/*.json")):
                if path.stem in ids:
                    path.unlink()
                    _remove_empty(path.parent, self.inflight)
            repeated = (self.folder / "repeats" / task).glob("*.jsonl")
            for path in sorted([*(self.canonical / task).glob("*.jsonl"), *repeated]):
                loaded = _Repeats[Record]()
                _read_lines(path, loaded, Record)
                kept = [record for record in loaded.repeats if record.id not in ids]
                if len(kept) == len(loaded.repeats):
                    continue
                if loaded.unreadable:
                    raise UserError(loaded.complaints()[0], "fix that line first: the file is rewritten")
                if kept:
                    kept.sort(key=lambda record: record.sort_key)
                    write_atomically(path, "".join(encode(record) + "\n" for record in kept))
                else:
                    path.unlink()
                    _remove_empty(path.parent, path.parent.parent)

    def _fold_file(self, task: str, method: str, whole: RecordSet[Record]) -> None:
        path = self.canonical / task / f"{method}.jsonl"
        loaded = RecordSet[Record]()
        lines = _read_lines(path, loaded, Record) if path.is_file() else 0
        damaged = bool(loaded.unreadable)
        keys = [record.sort_key for record in loaded.records.values()]
        tidy = lines == len(keys) and all(one < next_ for one, next_ in pairwise(keys))
        files = sorted((self.inflight / task / method).glob("*.json"))
        readable = [file for file in files if _read_inflight(file, loaded, Record)]
        if not damaged and loaded.records:
            if loaded.repeats:
                self._put_repeats(task, loaded.repeats)
            if readable or not tidy:
                ordered = sorted(loaded.records.values(), key=lambda record: record.sort_key)
                write_atomically(path, "".join(encode(record) + "\n" for record in ordered))
            for file in readable:
                file.unlink(missing_ok=True)
            _remove_empty(self.inflight / task / method, self.inflight)
        for record in loaded.records.values():
            whole.add(record)
        whole.unreadable += loaded.unreadable
        whole.repeats += loaded.repeats if damaged else []


class _Repeats(RecordSet[R]):
    """Records of which several may have one id."""

    def add(self, record: R) -> None:
        self.repeats.append(record)


def _read_repeats(folder: Path, task: str, loaded: RecordSet[R], kind: type[R]) -> None:
    """Read what lies beside the records: it takes the place of none."""
    found = _Repeats[R]()
    for path in sorted((folder / "repeats" / task).glob("*.jsonl")):
        _read_lines(path, found, kind)
    loaded.repeats += found.repeats
    loaded.unreadable += found.unreadable


def _strangers(folder: Path, task: str) -> list[tuple[Path, int, str]]:
    """JSON that lies where no record is looked for."""
    canonical = (path for path in (folder / "records" / task).glob("*") if path.suffix == ".json")
    loose = (path for path in (folder / "inflight" / task).glob("*.json*") if path.is_file())
    return [(path, 0, "is not a place for records; skipping it") for path in sorted([*canonical, *loose])]


def _read_lines(path: Path, loaded: RecordSet[R], kind: type[R]) -> int:
    """Read a canonical file; how many ended lines it has."""
    ends, place = 0, (path.parent.name, path.stem)
    try:
        with path.open(encoding="utf-8", newline="\n") as lines:
            for number, line in enumerate(lines, start=1):
                ends += line.endswith("\n")
                if line.strip():
                    _decode(path, number, line, place, loaded, kind)
    except (OSError, UnicodeDecodeError) as error:
        loaded.unreadable.append((path, 0, f"cannot be read: {error}"))
    return ends


def _read_inflight(path: Path, loaded: RecordSet[R], kind: type[R]) -> bool:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:  # folded meanwhile, by another run
        return False
    except (OSError, UnicodeDecodeError) as error:
        loaded.unreadable.append((path, 0, f"cannot be read: {error}"))
        return False
    return _decode(path, 0, text, (path.parent.parent.name, path.parent.name), loaded, kind)


def _decode(
    path: Path, number: int, text: str, place: tuple[str, str], loaded: RecordSet[R], kind: type[R]
) -> bool:  # fmt: skip
    """Add what a line holds, where it is a record of the task and the method that its place says."""
    try:
        record = decode(text, kind)
        if (record.task, record.method) != place:
            raise ValueError(
                f"a record of task {record.task!r}, method {record.method!r} does not belong here: "
                f"the file is for {place[0]!r}, {place[1]!r}"
            )
    except ValueError as error:
        loaded.unreadable.append((path, number, str(error)))
        return False
    loaded.add(record)
    return True


def _remove_empty(folder: Path, top: Path) -> None:
    while folder != top:
        try:
            folder.rmdir()
        except OSError:  # not empty, or gone: another run writes there
            return
        folder = folder.parent
