"""Which trials a command is running now, so that another one in the same folder leaves them to it."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from jkbench.files import locked, write_atomically, writing


@dataclass(frozen=True)
class Claim:
    """The trials that are ours now, and the locks of the commands that run the others."""

    mine: frozenset[str]
    others: tuple[Path, ...]

    def wait(self) -> None:
        """Return when those other commands have ended."""
        for lock in self.others:
            with locked(lock):
                pass


@contextlib.contextmanager
def claimed(folder: Path, trials: Sequence[str]) -> Iterator[Claim]:
    """Claim those of the trials (ids) that no living command has claimed in ``folder``, until the block ends.

    A claim is a file and a lock beside it, which the system releases when its holder is killed.
    """
    folder = folder / ".claims"
    own = folder / f"{uuid.uuid4().hex}.claim"
    lock = FileLock(own.with_suffix(".lock"), fallback_to_soft=False)
    with locked(folder / "claims.lock"), writing(folder):
        taken = {path: _ids(path) & set(trials) for path in folder.glob("*.claim") if _alive(path)}
        mine = frozenset(trials).difference(*taken.values())
        lock.acquire()
        write_atomically(own, json.dumps(sorted(mine)))
    try:
        yield Claim(mine, tuple(path.with_suffix(".lock") for path, ids in taken.items() if ids))
    finally:
        _remove(own, lock)


def _alive(path: Path) -> bool:
    """Whether the command that wrote a claim still runs; what a dead one left is removed."""
    lock = FileLock(path.with_suffix(".lock"), fallback_to_soft=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    _remove(path, lock)
    return False


def _remove(path: Path, lock: FileLock) -> None:
    """End a claim. What cannot be removed now is removed by a later command, as of one that was killed."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
    lock.release()
    with contextlib.suppress(OSError):
        path.with_suffix(".lock").unlink(missing_ok=True)


def _ids(path: Path) -> set[str]:
    try:
        return set(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):  # it ended meanwhile
        return set()
