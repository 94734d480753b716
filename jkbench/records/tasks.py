"""Tasks by name: those of the package, and those that a leaderboard folder has kept a copy of."""

from __future__ import annotations

import re
from pathlib import Path

from jkbench.errors import UserError, unknown
from jkbench.files import write_atomically
from jkbench.tasks import task as tasks
from jkbench.tasks.task import Task


def load(name: str, *folders: Path) -> Task:
    """A built-in task, a task file, or one that records of a folder were made with: the first folder's first."""
    if name in tasks.builtin() or name.endswith(".toml") or "/" in name:
        return tasks.load(name)
    kept = {path.stem: path for folder in reversed(folders) for path in sorted((folder / "tasks").glob("*.toml"))}
    if name not in kept:
        raise unknown("task", name, [*tasks.builtin(), *kept])
    return tasks.load(str(kept[name]))


def keep(name: str, folder: Path) -> None:
    """Keep a copy of a task file beside its records, so that their table can be made without it.

    `UserError` where another task of that name is already kept, or the suite has one.
    """
    path = Path(name)
    if path.suffix != ".toml" or path.stem in tasks.builtin():
        check_kept(name, folder)
        return
    kept = folder / "tasks" / path.name
    check_kept(name, folder)
    if not kept.is_file() or kept.resolve() != path.resolve():
        text = path.read_text(encoding="utf-8")
        # where a user keeps weights is no part of the task (nor of its protocol), and may hold a user's name
        write_atomically(kept, re.sub(r',?\s*\bweights\s*=\s*("[^"\n]*"|\'[^\'\n]*\')', "", text))


def check_kept(name: str, folder: Path) -> None:
    """Refuse a task file that is another task than the suite's, or than the kept one of its name: `UserError`."""
    path = Path(name)
    kept = folder / "tasks" / path.name
    if path.suffix != ".toml" or (kept.is_file() and kept.resolve() == path.resolve()):
        return
    if path.stem in tasks.builtin():
        if path.resolve() != tasks.builtin()[path.stem].resolve():
            raise UserError(f"{name}: the suite has a task {path.stem!r} of its own", "give the task another name")
        return
    if kept.is_file() and tasks.load(str(kept)).protocol != tasks.load(name).protocol:
        raise UserError(
            f"{name} differs from {kept}, which the records of {path.stem!r} were made with",
            "give the changed task another name or another --leaderboard: one protocol a table",
        )
