"""jkbench: the reference benchmark for knowledge transfer with little data.

What a plugin needs is here: ``from jkbench import Method, Weight, cross_entropy, …``. Names are loaded on first
use, so ``import jkbench`` takes no time and needs no torch; `__init__.pyi` lists them.
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

_HOME = {
    alias.name: node.module
    for node in ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")).body
    if isinstance(node, ast.ImportFrom) and node.module
    for alias in node.names
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'jkbench' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
