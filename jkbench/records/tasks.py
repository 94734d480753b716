"""Tasks by name: those of the package, and those that a leaderboard folder has stored a copy of."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from jkbench.errors import UserError, unknown
from jkbench.files import write_atomically
from jkbench.tasks import changes
from jkbench.tasks import task as tasks
from jkbench.tasks.task import Task


def load(name: str, *folders: Path) -> Task:
    """A built-in task, a task file, or one that records of a folder were made with: the first folder's first."""
    return tasks.load(str(path_of(name, *folders)))


def path_of(name: str, *folders: Path) -> Path:
    """The file that `load` reads. `UserError` where there is none."""
    if name in tasks.builtin() or name.endswith(".toml") or "/" in name:
        return tasks.path_of(name)
    stored = {path.stem: path for folder in reversed(folders) for path in sorted((folder / "tasks").glob("*.toml"))}
    if name not in stored:
        raise unknown("task", name, [*tasks.builtin(), *stored])
    return stored[name]


def planned(
    name: str, folder: Path, settings: Mapping[str, object] | None = None, beside: Sequence[Path] = ()
) -> tuple[Task, str]:
    """A task to run, changed by ``settings``, and the text of its file: what is planned is what is stored.

    `UserError` where another task of that name is stored in ``folder``, or the suite has one.
    """
    check_stored(name, folder)
    path = path_of(name, folder, *beside)
    text = tasks.text_of(path)
    if settings:
        tasks.parse(path, text)  # a mistake in the file itself names the file
        changed, text = changes.apply(text, path.stem, settings)
        path = path.with_name(f"{changed}.toml")
    task = tasks.parse(path, text, "--set" if settings else str(path))
    stored = folder / "tasks" / path.name
    if settings and stored.is_file() and tasks.load(str(stored)).protocol != task.protocol:
        raise UserError(f"{stored} is a different task with this name", "give another --leaderboard")
    return task, text


def keep(task: Task, text: str, folder: Path) -> None:
    """Keep a task that is not the suite's beside its records, so that their table can be made from them alone."""
    stored = folder / "tasks" / f"{task.name}.toml"
    if task.name not in tasks.builtin() and not stored.is_file():
        # the path of weights is not part of the task or its protocol, and may contain a user's name
        write_atomically(stored, re.sub(r',?\s*\bweights\s*=\s*("[^"\n]*"|\'[^\'\n]*\')', "", text))


def check_stored(name: str, folder: Path) -> None:
    """Refuse a task file that is another task than the suite's, or than the stored one of its name: `UserError`."""
    path = Path(name)
    stored = folder / "tasks" / path.name
    if path.suffix != ".toml" or (stored.is_file() and stored.resolve() == path.resolve()):
        return
    if path.stem in tasks.builtin():
        if path.resolve() != tasks.builtin()[path.stem].resolve():
            raise UserError(f"{name}: the suite already has a task {path.stem!r}", "give the task another name")
        return
    if stored.is_file() and tasks.load(str(stored)).protocol != tasks.load(name).protocol:
        raise UserError(
            f"{name} differs from {stored}, with which the records of {path.stem!r} were made",
            "give the changed task another name or another --leaderboard: one protocol per table",
        )
