"""Names for content: short hashes of values, of Python source and of files."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable
from typing import Any

from jkbench.errors import TOO_DEEP

LENGTH = 16
RANGES = "ranges"
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def of_value(value: Any) -> str:
    """A hash of any JSON value, the same for every order of its keys."""
    return of_bytes(_CANONICAL.encode(value).encode())


def of_bytes(*parts: bytes) -> str:
    """A hash of bytes."""
    return of_parts(parts)


def of_parts(parts: Iterable[bytes | memoryview]) -> str:
    """A hash of bytes that come in parts; how they are cut does not matter."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:LENGTH]


def of_source(source: str) -> str:
    """A hash of what Python source does: comments, layout and docstrings do not count.

    Nor do the ``ranges`` of a method (see `jkbench.plugins.method`), unless its code reads them: they say where a
    parameter may be tuned, and change no number. Source that does not parse, or is too deep, is hashed as text.
    """
    try:
        tree = tree_of(source)
    except SyntaxError:
        return of_bytes(source.encode())
    if not any(isinstance(node, ast.Attribute) and node.attr == RANGES for node in ast.walk(tree)):
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                node.body = [each for each in node.body if not declares(each, RANGES)]
    try:
        return of_bytes(_dump(tree).encode())
    except RecursionError:
        return of_bytes(source.encode())


def tree_of(source: str) -> ast.Module:
    """The syntax tree of Python source; SyntaxError also of what Python refuses otherwise: null bytes, deep nesting."""
    try:
        return ast.parse(source)
    except ValueError as error:
        raise SyntaxError(str(error)) from None
    except TOO_DEEP:
        raise SyntaxError("it is nested too deeply") from None


def declares(statement: ast.stmt, name: str) -> bool:
    """Whether a statement of a class assigns a dict that is written out to this name."""
    match statement:
        case (
            ast.Assign(targets=[ast.Name(id=found)], value=ast.Dict())
            | ast.AnnAssign(target=ast.Name(id=found), value=ast.Dict())
        ):
            return found == name
    return False


def _dump(node: object) -> str:
    """The syntax tree as text. `ast.dump` differs between versions of Python; what is absent is left out here."""
    if isinstance(node, list):
        return "[" + ",".join(map(_dump, node)) + "]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {name: value for name, value in ast.iter_fields(node) if value not in (None, [])}
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        body = node.body
        documented = body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)
        if documented and isinstance(body[0].value.value, str):  # type: ignore[attr-defined]
            fields["body"] = body[1:]
    inside = ",".join(f"{name}={_dump(value)}" for name, value in fields.items())
    return f"{type(node).__name__}({inside})"
