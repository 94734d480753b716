"""Cached values that follow from a data set's content: its hash, and counts of its pixels.

Splits that share images (all training images, those among them for validation, the others) each enter the hash, so
hashing a large set would read everything three times at every start. Images that were checked on reading
(`jkbench.data.prepared.load`) need no second reading: their hash, and which of them a split selects, name what follows.

Files of more than `ALWAYS` bytes are not hashed again while the file system reports no change, as in git: same path,
device, inode, size and times of change in nanoseconds. Smaller files are hashed at every reading.

Ours: joblib and diskcache hash the arguments themselves, which is the reading to avoid, and store pickles.
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
"""Bytes up to which files are hashed at every reading: it takes less than a second."""
_SETTLED = 2.0  # seconds: a second change within one tick of the file system's clock would be invisible, so wait


def of_files(files: Sequence[Path], compute: Callable[[], str]) -> str:
    """The hash that ``compute`` makes of these files: cached if they are large and unchanged.

    Raises what ``compute`` raises, and `OSError` if a file is missing.
    """
    if sum(file.stat().st_size for file in files) <= ALWAYS:
        return compute()
    state = _state(files)
    if is_hash(cached := _read(f"files-{state}")):
        return str(cached)
    if 0 <= (age := _age(files)) < _SETTLED:
        time.sleep(_SETTLED - age)
    settled = _age(files) >= _SETTLED
    found = compute()
    if settled and state == _state(files):
        _write(f"files-{state}", found)
    return found


def _age(files: Sequence[Path]) -> float:
    """Seconds since the last change of any of these files."""
    return time.time() - max(max(stat.st_mtime, stat.st_ctime) for stat in map(Path.stat, files))


def _state(files: Sequence[Path]) -> str:
    """What the file system says of these files; it changes when one of them is written or replaced."""
    found = [(str(file.resolve()), file.stat()) for file in files]
    return hashing.of_value([[p, s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns] for p, s in found])


def content(splits: Mapping[str, Split]) -> str:
    """The hash of canonical splits (`jkbench.data.arrays.content`), cached for checked images."""
    return str(of_checked("content", splits, lambda: arrays.content(splits), is_hash))


def of_checked(what: str, splits: Mapping[str, Split], compute: Callable[[], Any], valid: Callable[[Any], bool]) -> Any:
    """A JSON value that follows from the content of splits: the cached one if ``valid``, else from ``compute``.

    Nothing is cached for images that were not checked.
    """
    if not all(split.checked for split in splits.values()):
        return compute()
    name = f"{what}-{hashing.of_value({part: _selection(split) for part, split in splits.items()})}"
    if valid(cached := _read(name)):
        return cached
    found = compute()
    _write(name, found)
    return found


def is_hash(found: Any) -> bool:
    """Whether this is a hash of `jkbench.hashing`."""
    return isinstance(found, str) and re.fullmatch(f"[0-9a-f]{{{hashing.LENGTH}}}", found) is not None


def _selection(split: Split) -> list[str]:
    """Everything that decides which images and labels a split holds."""
    at = "all" if split.at is None else hashing.of_bytes(split.at.astype("<i8").tobytes())
    return [split.checked, str(split.shape), at, hashing.of_bytes(split.labels.astype("<i8").tobytes())]


def _path(name: str) -> Path:
    return cache_folder() / "contents" / f"{name}.json"


def _read(name: str) -> Any:
    with suppress(OSError, ValueError):
        return json.loads(_path(name).read_text(encoding="utf-8"))
    return None


def _write(name: str, found: Any) -> None:
    with suppress(UserError):  # without a writable cache, the value is computed again
        write_atomically(_path(name), json.dumps(found) + "\n")
