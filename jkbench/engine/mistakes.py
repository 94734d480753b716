"""What a plugin did wrong, in one sentence: the line of its own file, and what to write instead."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable
from inspect import get_annotations
from pathlib import Path

from jkbench.engine.signals import Signals
from jkbench.errors import Breach, UserError, unknown
from jkbench.plugins.describe import Plugin
from jkbench.plugins.loading import load

_WIDTHS = "{text}: where student and teacher differ in width, map one to the other with a module that modules() returns"
_ADVICE = {
    "Instance is frozen": "a method holds no state: return its modules from modules(self, student, teacher), as a dict",
    r"The size of tensor a .* must match": _WIDTHS,
    r"shapes cannot be multiplied": _WIDTHS,
    r"to have \d+ channels": _WIDTHS,
}
"""What to write where the error of a library has this text."""


def told(error: BaseException, plugins: Iterable[Plugin]) -> str:
    """As `explained`, in words."""
    return str(explained(error, plugins))


def explained(error: BaseException, plugins: Iterable[Plugin]) -> UserError:
    """One sentence on what went wrong, after ``FILE:LINE in FUNCTION`` of the first plugin whose code was running.

    Without such a plugin: what a `UserError` says, or the last lines of the trace.
    """
    meant = _meant(error)
    place = next(filter(None, (_place(error, plugin) for plugin in plugins)), "")
    if place:
        return UserError(f"{place}: {meant.message}", meant.hint)
    return error if isinstance(error, UserError) else UserError(last_lines(error))


def last_lines(error: BaseException, count: int = 3) -> str:
    """The end of a trace without folders (which may name a user): file:line, function, code; then the error."""
    frames = traceback.extract_tb(error.__traceback__)[-count:]
    lines = [f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}: {frame.line}" for frame in frames]
    return "\n".join([*lines, f"{type(error).__name__}: {error}"])


def public(kind: type) -> list[str]:
    """What a plugin may read of an object of the suite, by name."""
    ours = [each for each in kind.__mro__ if each.__module__.startswith("jkbench.")]
    names = {name: None for each in ours for name in (*get_annotations(each), *vars(each))}
    return [name for name in names if not name.startswith("_")]


def _place(error: BaseException, plugin: Plugin) -> str:
    """Where the innermost code of the plugin was running; for a `Breach`, else, the function that is to blame."""
    path = plugin.path.resolve()
    frames = [each for each in traceback.extract_tb(error.__traceback__) if each.filename == str(path)]
    if frames:
        return f"{plugin.path}:{frames[-1].lineno} in {frames[-1].name}"
    if isinstance(error, Breach):
        code = getattr(getattr(load(plugin), error.function, None), "__code__", None)
        if code is not None and code.co_filename == str(path):
            return f"{plugin.path}:{code.co_firstlineno} in {error.function}"
    return ""


def _meant(error: BaseException) -> UserError:
    """The error as a sentence for the plugin's author."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, AttributeError) and error.obj is None and error.name in public(Signals):
        return UserError("teacher is None in robustness tasks: write `if teacher is not None`")
    if isinstance(error, AttributeError) and error.name and (names := public(type(error.obj))):
        kind = type(error.obj).__name__
        return UserError(f"{kind} has no {error.name!r}: {unknown('name', error.name, names).hint}")
    text = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
    for pattern, advice in _ADVICE.items():
        if re.search(pattern, str(error)):
            return UserError(advice.format(text=text))
    return UserError(text)
