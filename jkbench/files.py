"""Atomic writes, locks, and the folders outside the project.

`write_atomically` is ours: the libraries that did this are no longer maintained, and it is a temporary file, fsync and
a rename.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from jkbench.errors import UserError

HINT = "free space there, change its permissions, or choose another folder with --leaderboard DIR"


@contextlib.contextmanager
def writing(path: Path, hint: str = HINT) -> Iterator[None]:
    """Raise `UserError` where the block cannot write ``path``, or what is in it."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}", hint) from None


def write_atomically(path: Path, content: str | bytes, hint: str = HINT) -> None:
    """Write a file completely or not at all; `UserError` if the folder cannot be written."""
    data = content.encode() if isinstance(content, str) else content
    with writing(path, hint):
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


def _beside(path: Path) -> tuple[int, str]:
    """A new temporary file beside ``path``; another run may be removing the folder because it is empty."""
    for _ in range(100):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return tempfile.mkstemp(dir=path.parent, prefix=".writing-")
        except FileNotFoundError:
            continue
    return tempfile.mkstemp(dir=path.parent, prefix=".writing-")


@contextlib.contextmanager
def locked(path: Path, hint: str = HINT) -> Iterator[None]:
    """Hold a lock that excludes other threads and processes; the system releases it when its holder is killed.

    Waits for the present holder. `UserError` where the file cannot be written or locked.
    """
    lock = FileLock(path, fallback_to_soft=False)  # a soft lock would outlive a holder that is killed
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise UserError(f"{path} cannot be written or locked: {error.strerror}", hint) from None
    try:
        yield
    finally:
        lock.release()


def of_package(name: str, beside: str = "") -> Path:
    """A folder that travels with the suite: inside the package where it was installed from a wheel, beside it (as
    ``beside``, where that name differs) in a checkout."""
    package = Path(__file__).parent
    inside = package / name
    return inside if inside.is_dir() else package.parent / (beside or name)


def cache_folder() -> Path:
    """The folder of results that can be recomputed: ``JKBENCH_CACHE``, or the user's cache."""
    given = os.environ.get("JKBENCH_CACHE")
    return Path(given).expanduser().resolve() if given else user_cache_path("jkbench")


def checkpoint_of(cache: Path, trial: str) -> Path:
    """Where a trial under way is stored, by its id."""
    return cache / "checkpoints" / f"{trial}.partial"


def data_folder() -> Path:
    """The folder of prepared images and downloaded weights: ``JKBENCH_DATA``, or ``data`` in the cache."""
    given = os.environ.get("JKBENCH_DATA")
    return Path(given).expanduser().resolve() if given else cache_folder() / "data"
