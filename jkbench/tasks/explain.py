"""A wrong field of a TOML file, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from jkbench.errors import UserError, unknown


def explain(file: str, error: ValidationError, model: type[BaseModel]) -> Iterator[UserError]:
    """Each wrong field with the path to it and what would have been right."""
    for entry in error.errors():
        at = [str(part) for part in entry["loc"]]
        where = ".".join(at) or "the task"
        if entry["type"] == "extra_forbidden":
            known = _fields(at[:-1], model)
            problem = unknown("field", at[-1], known)
            yield UserError(f"{file}: {where}: {problem.message} here", problem.hint)
        else:
            message = entry["msg"].removeprefix("Value error, ")
            given = entry["input"]
            shown = "" if isinstance(given, dict) or entry["type"] == "missing" else f" (given: {given!r})"
            yield UserError(f"{file}: {where}: {message}{shown}")


def _fields(at: list[str], whole: type[BaseModel]) -> list[str]:
    """The names that a table of the task file may hold."""
    model: Any = whole
    for part in at:
        field = model.model_fields.get(part)
        if field is None:
            return []
        choices = [field.annotation, *getattr(field.annotation, "__args__", ())]
        model = next((c for c in choices if isinstance(c, type) and issubclass(c, BaseModel)), None)
        if model is None:
            return []
    return list(model.model_fields)
