"""Where records are kept.

``records/TASK/METHOD.jsonl``
    canonical and committed: one record a line, sorted, the same bytes for the same records.
``inflight/TASK/METHOD/ID.json``
    what a run has finished and not folded yet: one file a trial, written atomically.

A kill at any moment loses at most the trial that is running. Two branches that add records of one file merge by
keeping both sides (``merge=union`` in .gitattributes); the next fold sorts and drops what stands twice.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from jkbench.errors import UserError
from jkbench.files import locked, write_atomically
from jkbench.records.schema import Record

_RANK = {"ok": 3, "diverged": 2, "timeout": 1, "oom": 1, "failed": 0}
FINAL = ("ok", "diverged")
"""Statuses that the same command does not try again: both are results."""


@dataclass
class RecordSet:
    """The records of one task by id, and what could not be read: (file, line or 0, reason)."""

    records: dict[str, Record] = field(default_factory=dict)
    unreadable: list[tuple[Path, int, str]] = field(default_factory=list)

    def add(self, record: Record) -> None:
        """Keep the better of two records of one id: a result before a failure, then the newer."""
        other = self.records.get(record.id)
        if other is None or better(record, other):
            self.records[record.id] = record

    def complaints(self) -> list[str]:
        """One sentence for each thing that could not be read."""
        return [f"{path}{f':{line}' if line else ''}: {why}" for path, line, why in self.unreadable]


def better(record: Record, other: Record) -> bool:
    """Whether the first of two records of one trial is the one to keep."""
    return _preference(record) > _preference(other)


def _preference(record: Record) -> tuple[int, str]:
    return (_RANK[record.status], record.created)


def encode(record: Record) -> str:
    """A record as one canonical line, without its end."""
    content = record.model_dump(mode="json", exclude_defaults=True) | {"schema_version": record.schema_version}
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def decode(text: str) -> Record:
    """A record from its line; ValueError says in one sentence why it is none."""
    try:
        content = json.loads(text)
    except ValueError:
        raise ValueError("not a record: the JSON is truncated or damaged") from None
    if not isinstance(content, dict) or "id" not in content:
        raise ValueError("not a record of jkbench: it has no id")
    if content.get("schema_version") != 1:
        raise ValueError(f"a record of schema {content.get('schema_version')!r}, which this version does not read")
    try:
        return Record.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"not a record: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


class Store:
    """The records of one leaderboard folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.canonical = folder / "records"
        self.inflight = folder / "inflight"

    def tasks(self) -> list[str]:
        """Names of the tasks that have records."""
        found = {
            path.name for base in (self.canonical, self.inflight) if base.is_dir() for path in base.iterdir()
            if path.is_dir() and any(path.rglob("*.json*"))
        }  # fmt: skip
        return sorted(found)

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

    def read(self, task: str) -> RecordSet:
        """All records of a task, folded or not. What a fold moves meanwhile is seen in one place or the other."""
        loaded = RecordSet()
        for path in sorted((self.inflight / task).glob("*/*.json")):
            self._read_inflight(path, loaded)
        for path in sorted((self.canonical / task).glob("*.jsonl")):
            self._read_lines(path, loaded)
        loaded.unreadable += self._strangers(task)
        return loaded

    def _strangers(self, task: str) -> list[tuple[Path, int, str]]:
        """JSON that lies where no record is looked for."""
        canonical = (path for path in (self.canonical / task).glob("*") if path.suffix == ".json")
        loose = (path for path in (self.inflight / task).glob("*.json*") if path.is_file())
        return [(path, 0, "is not where records are kept, and is not read") for path in sorted([*canonical, *loose])]

    def put(self, record: Record) -> Path:
        """Keep a finished trial at once, atomically."""
        path = self.inflight / record.task / record.method / f"{record.id}.json"
        write_atomically(path, encode(record) + "\n")
        return path

    def fold(self, task: str) -> RecordSet:
        """Move what is in flight into the canonical files.

        A file with a line that is no record is left as it is, with its in-flight records beside it, until somebody
        mends it: the result says where. Nothing readable is ever dropped.
        """
        whole = RecordSet()
        self.check_writable()
        with locked(self.inflight / ".lock"):
            methods = {path.stem for path in (self.canonical / task).glob("*.jsonl")}
            methods |= {path.name for path in (self.inflight / task).glob("*") if path.is_dir()}
            for method in sorted(methods):
                self._fold_file(task, method, whole)
        whole.unreadable += self._strangers(task)
        return whole

    def _fold_file(self, task: str, method: str, whole: RecordSet) -> None:
        path = self.canonical / task / f"{method}.jsonl"
        loaded = RecordSet()
        if path.is_file():
            self._read_lines(path, loaded)
        damaged = bool(loaded.unreadable)
        files = sorted((self.inflight / task / method).glob("*.json"))
        readable = [file for file in files if self._read_inflight(file, loaded)]
        if not damaged and loaded.records:
            ordered = sorted(loaded.records.values(), key=lambda record: record.sort_key)
            text = "".join(encode(record) + "\n" for record in ordered)
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                write_atomically(path, text)
            for file in readable:
                file.unlink(missing_ok=True)
            _remove_empty(self.inflight / task / method, self.inflight)
        for record in loaded.records.values():
            whole.add(record)
        whole.unreadable += loaded.unreadable

    def _read_lines(self, path: Path, loaded: RecordSet) -> None:
        try:
            lines = path.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            loaded.unreadable.append((path, 0, f"cannot be read: {error}"))
            return
        for number, line in enumerate(lines, start=1):
            if line.strip():
                self._decode(path, number, line, loaded)

    def _read_inflight(self, path: Path, loaded: RecordSet) -> bool:
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:  # folded meanwhile, by another run
            return False
        except (OSError, UnicodeDecodeError) as error:
            loaded.unreadable.append((path, 0, f"cannot be read: {error}"))
            return False
        return self._decode(path, 0, text, loaded)

    @staticmethod
    def _decode(path: Path, number: int, text: str, loaded: RecordSet) -> bool:
        try:
            record = decode(text)
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
