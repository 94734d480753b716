"""Importing a plugin: the one place where its code runs."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from functools import cache
from pathlib import Path
from typing import Any

from jkbench import hashing
from jkbench.errors import UserError
from jkbench.plugins.describe import Plugin


def load(plugin: Plugin) -> Any:
    """The plugin's class. `UserError` with file:line where the file is broken or raises at import."""
    if plugin.broken:
        raise UserError(plugin.broken)
    if plugin.module is not None:
        return _of_package(plugin.module, plugin.class_name)
    return _load(plugin.path.resolve(), plugin.class_name, plugin.code)


def _of_package(module: str, class_name: str) -> Any:
    """A plugin of an installed package, imported as part of it: its own imports work as its author wrote them."""
    try:
        return getattr(importlib.import_module(module), class_name)
    except (Exception, SystemExit) as error:
        raise UserError(f"{module} cannot be imported: {type(error).__name__}: {error}") from error


@cache
def _load(path: Path, class_name: str, code: str) -> Any:
    name = f"jkbench_plugin_{path.stem}_{hashing.of_bytes(str(path).encode(), code.encode())}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
        return getattr(module, class_name)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        inside = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = inside[-1].lineno if inside else 1
        raise UserError(f"{path}:{line}: cannot be imported: {type(error).__name__}: {error}") from error
