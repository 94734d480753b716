"""A task changed from the command line: another task, by name and protocol."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from jkbench import hashing
from jkbench.errors import TOO_DEEP, UserError

HINT = "write the path to a field of the task: student.training.steps=50"
LONGEST = 80
"""Characters of a name; a longer one ends in a hash."""


def parse(texts: tuple[str, ...]) -> dict[str, Any]:
    """``("student.training.steps=50",)`` → {"student.training.steps": 50}; values as in TOML, or words."""
    settings: dict[str, Any] = {}
    for text in texts:
        path, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not path or not value or path in settings:
            raise UserError(f"--set {text!r}: " + ("it is set twice" if path in settings else "not FIELD=VALUE"), HINT)
        try:
            settings[path] = tomllib.loads(f"value = {value}")["value"]
        except (tomllib.TOMLDecodeError, *TOO_DEEP):
            settings[path] = value
    return settings


def name_of(base: str, settings: Mapping[str, Any]) -> str:
    """``digits-fewshot-steps-50``: the base's name with each field and its value; the student's training is meant
    where a field is named alone. The same settings in any order give the same name."""
    words = [f"{path.removeprefix('student.training.')} {value}" for path, value in sorted(settings.items())]
    name = re.sub(r"[^a-z0-9]+", "-", f"{base} {' '.join(words)}".lower()).strip("-")
    return name if len(name) <= LONGEST else f"{name[:LONGEST].rstrip('-')}-{hashing.of_bytes(name.encode())[:8]}"


def apply(text: str, base: str, settings: Mapping[str, Any]) -> tuple[str, str]:
    """Name and TOML of the changed task; a drop of the rate stays at the same share of a training's length.

    `UserError` where a path leads nowhere; what a field may hold is checked when the task is read.
    """
    document = tomlkit.parse(text)
    for path, value in settings.items():
        *tables, field = path.split(".")
        table: Any = document
        try:
            for name in tables:
                table = table.setdefault(name, tomlkit.table())
            if field in ("steps", "epochs"):
                before = table.pop("steps", None) or table.pop("epochs", None)
                if (
                    isinstance(value, int)
                    and before
                    and "drop_at" in table
                    and f"{'.'.join(tables)}.drop_at" not in settings
                ):
                    table["drop_at"] = int(table["drop_at"]) * value // int(before)
                    if not table["drop_at"]:  # too short to drop
                        del table["drop_at"]
            table[field] = value
        except (AttributeError, TypeError, ValueError, TOMLKitError):
            raise UserError(f"--set {path}: the task has no such field", HINT) from None
    name = name_of(base, settings)
    document["name"] = name
    changed = ", ".join(f"{path} = {value}" for path, value in settings.items())
    document["title"] = f"{document.get('title', base)} ({changed})"
    document["description"] = f"{base} with {changed}."
    return name, tomlkit.dumps(document)
