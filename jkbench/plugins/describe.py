"""What a plugin file says about itself, read from its source without importing it."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Container
from dataclasses import dataclass, field, replace
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any, Literal

from jkbench import hashing
from jkbench.plugins.inheritance import Unreadable, imported, lineage
from jkbench.tasks.families import FAMILIES

PluginType = Literal["method", "dataset"]

_BASE = {"method": "Method", "dataset": "Dataset"}
_FLAG = (False, "True or False")
_TERMS: tuple[set[str], str] = (set(), "a set of names of terms")
_FACTS: dict[PluginType, dict[str, tuple[Any, str]]] = {
    "method": {
        "cite": ("", "a string"),
        "tasks": ({"distillation", "transfer"}, "a set of kinds of task"),
        "elsewhere": ({}, "a dict from kinds of task to reasons"),
        "reference": _FLAG,
        "separate_head": _FLAG,
        "starts_pretrained": _FLAG,
        "unit": ("ce", "a parameter's name"),
        "ranges": ({}, "a dict from parameters to ranges"),
        "auxiliary": _TERMS,
        "delayed": _TERMS,
    },
    "dataset": {"cite": ("", "a string"), "classes": ((), "a tuple of class names"), "content": ("", "a string"),
                "fetched": _FLAG},
}  # fmt: skip
"""What a plugin may say about itself: the default, and the expected value in words."""


@dataclass(frozen=True)
class Parameter:
    """One typed field of a plugin, as written."""

    name: str
    annotation: str
    default: str | None
    line: int


@dataclass(frozen=True)
class Plugin:
    """A plugin as its file describes it. ``broken`` says what is wrong with it, ``file:line`` first.

    A plugin that only lacks an import is still described: it can be planned and its records read, but it cannot run.
    """

    name: str
    plugin_type: PluginType
    path: Path
    origin: str
    code: str
    class_name: str = ""
    line: int = 1
    summary: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    parameters: tuple[Parameter, ...] = ()
    broken: str | None = None
    module: str | None = None
    """The dotted module name of a plugin in an installed package (an entry point)."""

    @property
    def described(self) -> bool:
        """Whether the file says what it is: class, facts and parameters."""
        return self.class_name != ""

    @property
    def tasks(self) -> set[str]:
        """Kinds of task that a method is defined on."""
        return set(self.facts.get("tasks", ()))

    @property
    def reference(self) -> bool:
        """Whether a method is an upper reference."""
        return bool(self.facts.get("reference", False))


def read(path: Path, plugin_type: PluginType, origin: str) -> Plugin:
    """The plugin in ``path``. Never raises: ``broken`` says what is wrong in the file."""
    name = path.stem.replace("_", "-")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return Plugin(name, plugin_type, path, origin, code="", broken=f"{path}:1: cannot be read: {error}")
    return of_text(text, path, plugin_type, origin)


def of_text(text: str, path: Path, plugin_type: PluginType, origin: str) -> Plugin:
    """The plugin in the text of the file ``path``, as `read`."""
    plugin = Plugin(path.stem.replace("_", "-"), plugin_type, path, origin, code=hashing.of_source(text))
    try:
        tree = hashing.tree_of(text)
        if plugin.code == hashing.of_bytes(text.encode()):
            raise SyntaxError("it is nested too deeply")
        return _describe(plugin, tree)
    except SyntaxError as error:
        return replace(plugin, broken=f"{path}:{error.lineno or 1}: does not parse: {error.msg}")
    except Unreadable as error:
        return replace(plugin, broken=f"{path}:{error.line}: {error.message}")


def _describe(plugin: Plugin, tree: ast.Module) -> Plugin:
    classes = lineage(tree, _BASE[plugin.plugin_type], f"jkbench.plugins.{plugin.plugin_type}")
    node = classes[0]
    expected = _FACTS[plugin.plugin_type]
    facts = {key: default for key, (default, _) in expected.items()}
    parameters: dict[str, Parameter] = {}
    for each in reversed(classes):
        _read_body(each, facts, parameters)
    for key, value in facts.items():
        default, words = expected[key]
        right = isinstance(value, set | frozenset | tuple | list if key == "tasks" else type(default))
        if not right or (not isinstance(value, str | bool) and not all(isinstance(each, str) for each in value)):
            raise Unreadable(node.lineno, f"{key} is {value!r}, where {words} is expected")
    wrong = ", ".join(sorted(set(facts.get("tasks", ())) - set(FAMILIES)))
    if wrong:
        raise Unreadable(node.lineno, f"tasks names {wrong}: kinds of task are {', '.join(FAMILIES)}")
    _check_ranges(classes, facts.get("ranges", {}), parameters)
    documentation = ast.get_docstring(tree) or ast.get_docstring(node) or ""
    described = replace(
        plugin, class_name=node.name, line=node.lineno, summary=documentation.strip().split("\n")[0], facts=facts,
        parameters=tuple(parameters.values()),
    )  # fmt: skip
    missing = _missing_import(tree)
    if missing is not None:
        line, package = missing
        return replace(described, broken=f"{plugin.path}:{line}: imports {package!r}, which is not installed")
    return described


def _read_body(node: ast.ClassDef, facts: dict[str, Any], parameters: dict[str, Parameter]) -> None:
    """Set what a class says over what its bases have said."""
    for statement in node.body:
        if isinstance(statement, ast.FunctionDef):
            _check_function(statement)
        elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            key = statement.targets[0].id
            if key in parameters:
                told = f"{key!r} is a parameter of a base: write {key}: {parameters[key].annotation} = …"
                raise Unreadable(statement.lineno, told)
            if key in facts:
                facts[key] = _literal(statement.value, key)
            elif not key.startswith("_") and isinstance(statement.value, ast.Constant | ast.UnaryOp):
                told = f"{key} has no type: write {key}: Weight = … for a parameter, {key}: ClassVar = … for a constant"
                raise Unreadable(statement.lineno, told)
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            key = statement.target.id
            if key in facts and statement.value is not None:
                facts[key] = _literal(statement.value, key)
            elif "ClassVar" in ast.unparse(statement.annotation):
                parameters.pop(key, None)
            elif not key.startswith("_"):
                parameters[key] = _parameter(statement)


def _check_function(node: ast.FunctionDef) -> None:
    """`Unreadable` where a function of the contract does not take the arguments that it is called with."""
    if node.name == "__init__":
        told = "parameters are typed fields, and modules are returned from modules(self, student, teacher), as a dict"
        raise Unreadable(node.lineno, f"a plugin has no __init__: {told}")
    given, wanted = node.args, _contract().get(node.name)
    count = len(given.posonlyargs + given.args)
    if wanted is None or given.vararg or node.decorator_list:
        return
    if not count - len(given.defaults) <= len(wanted) <= count:
        told = f"{node.name} takes {count} arguments, and is called with {len(wanted)}"
        raise Unreadable(node.lineno, f"{told}: write def {node.name}({', '.join(wanted)})")


@cache
def _contract() -> dict[str, list[str]]:
    """The arguments of each function that a plugin may define, as its base class is written."""
    trees = [ast.parse(Path(__file__).with_name(f"{kind}.py").read_text(encoding="utf-8")) for kind in _BASE]
    bases = [node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)]
    functions = [node for base in bases for node in base.body if isinstance(node, ast.FunctionDef)]
    return {node.name: [each.arg for each in node.args.args] for node in functions}


def _check_ranges(classes: list[ast.ClassDef], ranges: dict[str, Any], parameters: Container[str]) -> None:
    """`Unreadable` with its line where a range is not one, is empty or reversed, or is of no parameter."""
    written = [each.value for node in classes for each in node.body if hashing.declares(each, hashing.RANGES)]  # type: ignore[attr-defined]
    lines = {key.value: key.lineno for value in reversed(written) for key in value.keys}
    for name, given in ranges.items():
        wrong = ""
        if name not in parameters:
            wrong = "there is no such parameter"
        elif given is not None:
            low, high, *scale = given if isinstance(given, tuple) and len(given) in (2, 3) else (None, None)
            if not all(isinstance(end, int | float) and isfinite(end) for end in (low, high)) or scale not in (
                [],
                ["linear"],
            ):
                wrong = f'{given!r} is not (low, high), (low, high, "linear") or None'
            elif not low < high:
                wrong = f"{low} to {high} is empty or reversed"
            elif not scale and low <= 0:
                wrong = f'a log scale starts above 0, not at {low}: add "linear", or start higher'
        if wrong:
            raise Unreadable(lines.get(name, classes[0].lineno), f"ranges of {name!r}: {wrong}")


def _literal(node: ast.expr, name: str) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        told = f"{name} must be written out, not computed: it is read without importing"
        raise Unreadable(node.lineno, told) from None


def _parameter(node: ast.AnnAssign) -> Parameter:
    assert isinstance(node.target, ast.Name)
    default = None if node.value is None else ast.unparse(node.value)
    if default is None:
        raise Unreadable(node.lineno, f"parameter {node.target.id!r} has no default: every parameter has one")
    return Parameter(node.target.id, ast.unparse(node.annotation), default, node.lineno)


def _missing_import(tree: ast.Module) -> tuple[int, str] | None:
    """The first missing package among the imports at the top of the file: (line, name). Nothing is imported."""
    for node in tree.body:
        for _, full in imported(node):
            root = full.partition(".")[0]
            if not root or root in sys.stdlib_module_names or root in sys.modules:
                continue
            try:
                found = importlib.util.find_spec(root)
            except ImportError:
                found = None
            if found is None:
                return node.lineno, root
    return None
