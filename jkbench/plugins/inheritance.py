"""Which class of a file is the plugin, and what it inherits: read from the source, nothing is imported."""

from __future__ import annotations

import ast
from dataclasses import dataclass


class Unreadable(Exception):
    """What is wrong in a plugin file, and in which line."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


@dataclass(frozen=True)
class _Class:
    """A class of the file. ``stand_in`` is an empty class with the same bases: Python itself orders them."""

    node: ast.ClassDef
    stand_in: type
    ours: bool
    unread: str
    """The first base that this file does not define and `jkbench` does not export; else empty."""


def lineage(tree: ast.Module, base: str, home: str) -> list[ast.ClassDef]:
    """The plugin's class and its bases in this file, in the order in which Python looks things up.

    The plugin is the one most derived class of ``base``, which `jkbench` exports and the module ``home`` defines.
    Raises `Unreadable` where there is none or several, or where a base lies outside the file.
    """
    root = type(base, (), {})
    classes = _classes(tree, root, {f"jkbench.{base}", f"{home}.{base}"})
    ours = [found for found in classes if found.ours]
    if not ours:
        foreign = next((found for found in classes if found.unread), None)
        told = f": {foreign.node.name} derives from {foreign.unread}, which is not jkbench's" if foreign else ""
        raise Unreadable(
            foreign.node.lineno if foreign else 1, f"defines no class derived from {base}{told}; import it from jkbench"
        )
    for found in ours:
        if found.unread:
            raise Unreadable(
                found.node.lineno,
                f"{found.node.name} derives from {found.unread}, which is not read: define that class in this file",
            )
    leaves = [a for a in ours if not any(a is not b and issubclass(b.stand_in, a.stand_in) for b in ours)]
    if len(leaves) > 1:
        names = ", ".join(f"{leaf.node.name} (line {leaf.node.lineno})" for leaf in leaves)
        raise Unreadable(
            leaves[1].node.lineno,
            f"{len(leaves)} classes derive from {base}, none from another: {names}; a plugin file defines exactly one",
        )
    nodes = {found.stand_in: found.node for found in classes}
    return [nodes[each] for each in leaves[0].stand_in.__mro__ if each in nodes]


def _classes(tree: ast.Module, root: type, exported: set[str]) -> list[_Class]:
    """The classes at the top of the file, in order."""
    meaning: dict[str, str] = {}
    known: dict[str, _Class] = {}
    found = []
    for node in tree.body:
        meaning |= _imported(node)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            dotted = _dotted(node.value)
            if dotted in known:
                known[node.targets[0].id] = known[dotted]
            elif dotted:
                meaning[node.targets[0].id] = _full(dotted, meaning)
        if not isinstance(node, ast.ClassDef):
            continue
        bases: list[type] = []
        unread = ""
        for written in node.bases:
            dotted = _dotted(written)
            if dotted in known:
                bases.append(known[dotted].stand_in)
                unread = unread or known[dotted].unread
            elif _full(dotted, meaning) in exported:
                bases.append(root)
            elif dotted != "object":
                unread = unread or _full(dotted, meaning) or ast.unparse(written)
        try:
            stand_in = type(node.name, tuple(bases), {})
        except TypeError:
            raise Unreadable(node.lineno, f"the bases of {node.name} have no order that Python accepts") from None
        known[node.name] = _Class(node, stand_in, issubclass(stand_in, root), unread)
        found.append(known[node.name])
    return found


def _imported(node: ast.stmt) -> dict[str, str]:
    """What an import binds: local name → full dotted name."""
    if isinstance(node, ast.Import):
        return {each.asname or each.name.partition(".")[0]: each.name if each.asname else each.name.partition(".")[0]
                for each in node.names}  # fmt: skip
    if isinstance(node, ast.ImportFrom):
        module = "." * node.level + (node.module or "")
        if module == "jkbench" and node.names[0].name == "*":
            return {name: f"jkbench.{name}" for name in ("Method", "Dataset")}
        return {each.asname or each.name: f"{module}.{each.name}" for each in node.names}
    return {}


def _dotted(node: ast.expr) -> str:
    """``a.b.C`` as text; empty for what is computed."""
    if isinstance(node, ast.Attribute):
        before = _dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return node.id if isinstance(node, ast.Name) else ""


def _full(dotted: str, meaning: dict[str, str]) -> str:
    first, dot, rest = dotted.partition(".")
    return meaning.get(first, first) + dot + rest
