"""The one exception a user may see, and how many of them become one message."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

TOO_DEEP = (RecursionError, MemoryError)
"""What Python raises of text whose brackets or signs are nested thousands of times."""


class UserError(Exception):
    """A mistake that the user can fix: one sentence, and a hint that says how.

    The command line prints both without a traceback and ends with exit code 2.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[type[UserError], tuple[str, str]]:
        return (UserError, (self.message, self.hint))


class Breach(UserError):
    """A function of a plugin breaks its contract: the mistake is in what it returned or left out, not where it ran."""

    def __init__(self, function: str, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.function = function


class Problems(UserError):
    """Several mistakes of one command, reported together."""

    def __init__(self, problems: Sequence[UserError]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(str(problem) for problem in problems))


class Collector:
    """Gathers the mistakes of one command, so that all are reported together.

    >>> with Collector() as problems:
    ...     with problems.caught():
    ...         raise UserError("first")
    Traceback (most recent call last):
    jkbench.errors.UserError: first
    """

    def __init__(self) -> None:
        self.problems: list[UserError] = []

    def add(self, problem: UserError) -> None:
        """Keep ``problem``; what it holds is told once."""
        parts = problem.problems if isinstance(problem, Problems) else [problem]
        self.problems += [part for part in parts if str(part) not in map(str, self.problems)]

    def caught(self) -> _Caught:
        """A context that keeps a `UserError` raised inside it, and goes on."""
        return _Caught(self)

    def check(self) -> None:
        """Raise what was gathered; nothing when nothing was."""
        if len(self.problems) == 1:
            raise self.problems[0]
        if self.problems:
            raise Problems(self.problems)

    def __enter__(self) -> Collector:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, UserError):
            self.add(error)
        if error is None or isinstance(error, UserError):
            self.check()


class _Caught:
    def __init__(self, collector: Collector) -> None:
        self.collector = collector

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, UserError):
            self.collector.add(error)
            return True
        return False


def unknown(what: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that is not there: what was meant, or else all that there is."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.55)
    if close:
        hint = f"did you mean {' or '.join(repr(c) for c in close)}?"
    else:
        hint = f"known: {', '.join(names)}" if names else "none is known here"
    return UserError(f"there is no {what} {name!r}", hint)
