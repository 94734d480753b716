"""Importing a plugin: the one place where its code runs, and where it is seen to be the code that was planned."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from jkbench import hashing
from jkbench.errors import UserError
from jkbench.plugins.describe import Plugin, of_text

_LOADED: dict[tuple[Path, str, str], Any] = {}


def load(plugin: Plugin) -> Any:
    """The plugin's class, executed from the very text that ``plugin.code`` is the hash of.

    `UserError` with file:line where the file is broken, raises at import, or was changed since it was described.
    """
    key = (plugin.path.resolve(), plugin.class_name, plugin.code)
    if key not in _LOADED:
        _LOADED[key] = _class_of(plugin, _text(plugin))
    return _LOADED[key]


def _text(plugin: Plugin) -> str:
    """The file's text, read once. What it lacks is looked for here, where it runs."""
    try:
        text = plugin.path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(plugin.broken or f"{plugin.path}:1: cannot be read: {error}") from None
    now = of_text(text, plugin.path, plugin.plugin_type, plugin.origin)
    if now.code != plugin.code:
        raise UserError(f"{plugin.path}:1: the file was changed after this trial was planned", "run the command again")
    if now.broken:
        raise UserError(now.broken)
    return text


def _class_of(plugin: Plugin, text: str) -> Any:
    path = plugin.path.resolve()
    name = plugin.module or f"jkbench_plugin_{path.stem}_{hashing.of_bytes(str(path).encode(), plugin.code.encode())}"
    try:
        module = _module(name, path)
        # not through the import system, which may take older compiled code
        exec(compile(text, str(path), "exec", dont_inherit=True), module.__dict__)
        return getattr(module, plugin.class_name)
    except (Exception, SystemExit) as error:
        sys.modules.pop(name, None)
        inside = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = inside[-1].lineno if inside else 1
        raise UserError(f"{path}:{line}: cannot be imported: {type(error).__name__}: {error}") from error


def _module(name: str, path: Path) -> ModuleType:
    """An empty module of that name; inside its package where it has one, so that relative imports work."""
    if "." in name:
        importlib.import_module(name.rpartition(".")[0])
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    sys.modules[name] = importlib.util.module_from_spec(spec)
    return sys.modules[name]
