"""Files written whole or not at all, locks that a killed holder releases, and the folders outside the project."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from platformdirs import user_cache_path

from jkbench.errors import UserError

HINT = "make room or permission there, or give another folder with --leaderboard DIR"


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all; `UserError` where the folder does not let us."""
    data = content.encode() if isinstance(content, str) else content
    try:
        handle, name = _beside(path)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}", HINT) from None


def _beside(path: Path) -> tuple[int, str]:
    """A new file in the folder of ``path``, which another run may be removing because it was empty."""
    for _ in range(100):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return tempfile.mkstemp(dir=path.parent, prefix=".writing-")
        except FileNotFoundError:
            continue
    return tempfile.mkstemp(dir=path.parent, prefix=".writing-")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """One holder at a time, also between processes. `UserError` where the folder cannot be written."""
    try:
        import fcntl
    except ImportError:  # not a POSIX system: two runs at once in one folder are the user's to avoid
        yield
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("w")
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}", HINT) from None
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX)
        except OSError as error:  # some network file systems have no locks
            raise UserError(f"{path} cannot be locked: {error.strerror}", HINT) from None
        yield


def cache_folder() -> Path:
    """Where computed things are kept that can be computed again: ``JKBENCH_CACHE``, or the user's cache."""
    given = os.environ.get("JKBENCH_CACHE")
    return Path(given).expanduser().resolve() if given else user_cache_path("jkbench")


def data_folder() -> Path:
    """Prepared images and fetched weights: ``JKBENCH_DATA``, or ``data`` in the cache."""
    given = os.environ.get("JKBENCH_DATA")
    return Path(given).expanduser().resolve() if given else cache_folder() / "data"
