"""Writes that fail: every change that this process makes in a folder is counted, and one of them is cut.

Python tells its audit hooks of every file that is opened for writing, every folder made, every rename and removal,
before it happens; an error raised there is the system's answer. Bytes are cut where they leave Python's buffers.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.truncate", "os.link", "os.symlink"}
FULL, READ_ONLY, NO_PERMISSION = errno.ENOSPC, errno.EROFS, errno.EACCES
SHORT = 0
"""A write that takes half of the bytes and says so: no error, the rest has to be written again."""


@dataclass
class Cuts:
    """The changes made in ``folder``. Number ``at`` fails with ``error``; as long as the disk stays so (``lasting``),
    every later one does too."""

    folder: Path
    error: int = SHORT
    at: int = -1
    lasting: bool = False
    seen: list[tuple[str, str]] = field(default_factory=list)

    def reaches(self, what: str, path: object) -> bool:
        """Count a change; whether it is to fail."""
        name = str(Path(os.fsdecode(path)).absolute()) if isinstance(path, (str, bytes, os.PathLike)) else str(path)
        if not name.startswith(str(self.folder)):
            return False
        self.seen.append((what, os.path.relpath(name, self.folder)))
        number = len(self.seen) - 1
        return number == self.at or (self.lasting and number > self.at >= 0)

    def heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Raise the error of a change that is to fail."""
        opens = (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        )
        if (opens or event in CHANGES) and self.reaches(event, arguments[0]) and self.error != SHORT:
            raise OSError(self.error, os.strerror(self.error), arguments[0])


class _Raw(io.FileIO):
    """A file whose bytes can be cut."""

    def write(self, data: Any) -> int:
        """Half of the bytes arrive where the write is to fail."""
        view = memoryview(data).cast("B")
        if _active is None or not _active.reaches("write", _named(self.fileno())):
            return super().write(view)
        taken = super().write(view[: len(view) // 2]) if len(view) > 1 else 0
        if _active.error == SHORT and len(view) > 1:
            return taken
        if _active.error == SHORT:
            return super().write(view)
        raise OSError(_active.error, os.strerror(_active.error))


def _open(
    file: Any, mode: str = "r", buffering: int = -1, encoding: str | None = None, errors: str | None = None,
    newline: str | None = None, closefd: bool = True, opener: Any = None,
) -> Any:  # fmt: skip
    """`open`, with raw files of ours beneath those that are written."""
    if not set(mode) & set("wax+"):
        return _plain(file, mode, buffering, encoding, errors, newline, closefd, opener)
    raw = _Raw(file, mode.replace("b", "").replace("t", ""), closefd, opener)
    buffered = (io.BufferedRandom if "+" in mode else io.BufferedWriter)(raw)
    return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding or "utf-8", errors, newline)


_plain = io.open
_active: Cuts | None = None


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _active is not None and (event == "open" or event in CHANGES):
        _active.heard(event, arguments)


sys.addaudithook(_hook)


def _fsync(handle: int) -> None:
    """What was written is kept, at once: no disk is waited for."""
    if _active is not None and _active.reaches("fsync", _named(handle)) and _active.error != SHORT:
        raise OSError(_active.error, os.strerror(_active.error))


def _named(handle: int) -> str:
    return str(Path(f"/proc/self/fd/{handle}").readlink()).removesuffix(" (deleted)")


@contextlib.contextmanager
def cut(cuts: Cuts) -> Iterator[Cuts]:
    """Count, and cut, until the block ends."""
    global _active
    with (
        mock.patch.object(builtins, "open", _open),
        mock.patch.object(io, "open", _open),
        mock.patch.object(os, "fsync", _fsync),
    ):
        _active = cuts
        try:
            yield cuts
        finally:
            _active = None
