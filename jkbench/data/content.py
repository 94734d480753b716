"""What follows from a data set's content, not taken twice: its hash, and counts of its pixels.

Splits that share images (training images, those among them that validate, the others) are each part of the hash: of a
large set, taking it would read everything three times at every start. Of images that were checked as they were read
(`jkbench.data.prepared.kept`) it follows from their own hash and from which of them a split takes; what it was is kept
in the user's cache under a name made of these, and so are counts.

Files of more than `ALWAYS` bytes that have been hashed are not read again while the file system says that nobody has
touched them, as git does: same path, device, number, size and, to the nanosecond, times of change. Smaller ones are
always read.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from jkbench import hashing
from jkbench.data import arrays
from jkbench.data.arrays import Split
from jkbench.errors import UserError
from jkbench.files import cache_folder, write_atomically

ALWAYS = 2**28
"""Bytes up to which files are hashed whenever they are read: it takes less than a second."""
_SETTLED = 2.0  # seconds: a file that changes again within one tick of its clock would look the same; wait that long


def of_files(files: Sequence[Path], take: Callable[[], str]) -> str:
    """The hash that ``take`` makes of these files: the one that is kept, where they are large and untouched since.

    Raises what ``take`` raises, and `OSError` where a file is missing.
    """
    if sum(file.stat().st_size for file in files) <= ALWAYS:
        return take()
    note = _note(f"files-{_state(files)}")
    if is_hash(kept := _read(note)):
        return str(kept)
    if 0 <= (age := _age(files)) < _SETTLED:
        time.sleep(_SETTLED - age)
    settled = _age(files) >= _SETTLED
    found = take()
    if settled and note == _note(f"files-{_state(files)}"):
        _keep(note, found)
    return found


def _age(files: Sequence[Path]) -> float:
    """Seconds since any of the files was changed."""
    return time.time() - max(max(told.st_mtime, told.st_ctime) for told in map(Path.stat, files))


def _state(files: Sequence[Path]) -> str:
    """What the file system says of files; other if any of them was written or replaced."""
    found = [(str(file.resolve()), file.stat()) for file in files]
    return hashing.of_value([[p, s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns] for p, s in found])


def content(splits: Mapping[str, Split]) -> str:
    """The hash of canonical splits (`jkbench.data.arrays.content`): the one that is kept, where it must be the same."""
    return str(of_checked("content", splits, lambda: arrays.content(splits), is_hash))


def of_checked(what: str, splits: Mapping[str, Split], take: Callable[[], Any], sound: Callable[[Any], bool]) -> Any:
    """A JSON value that follows from the content of splits: ``take`` makes it, unless one is kept that is ``sound``.

    Nothing is kept of images that nobody has checked.
    """
    if not all(split.checked for split in splits.values()):
        return take()
    note = _note(f"{what}-{hashing.of_value({name: _taken(split) for name, split in splits.items()})}")
    kept = _read(note)
    if sound(kept):
        return kept
    found = take()
    _keep(note, found)
    return found


def _note(name: str) -> Path:
    return cache_folder() / "contents" / f"{name}.json"


def _read(note: Path) -> Any:
    with suppress(OSError, ValueError):
        return json.loads(note.read_text(encoding="utf-8"))
    return None


def _keep(note: Path, found: Any) -> None:
    with suppress(UserError):  # a cache that cannot be written costs time, nothing else
        write_atomically(note, json.dumps(found) + "\n")


def is_hash(found: Any) -> bool:
    """Whether this is a hash of `jkbench.hashing`."""
    return isinstance(found, str) and re.fullmatch(f"[0-9a-f]{{{hashing.LENGTH}}}", found) is not None


def _taken(split: Split) -> list[str]:
    """All that decides which images and labels a split holds."""
    at = "all" if split.at is None else hashing.of_bytes(split.at.astype("<i8").tobytes())
    return [split.checked, str(split.shape), at, hashing.of_bytes(split.labels.astype("<i8").tobytes())]
