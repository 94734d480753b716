"""Which class of a file is the plugin, and what it inherits: read from the source, nothing is imported."""

from __future__ import annotations

import ast


class Unreadable(Exception):
    """What is wrong in a plugin file, and in which line."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


def lineage(tree: ast.Module, base: str, home: str) -> list[ast.ClassDef]:
    """The plugin's class and its bases in this file, in the order in which Python looks names up.

    The plugin is the one most derived class of ``base``, which `jkbench` exports and the module ``home`` defines.
    Raises `Unreadable` where there is none or several, or where a base lies outside the file.
    """
    root = type(base, (), {})
    nodes, unread = _classes(tree, root, {f"jkbench.{base}", f"{home}.{base}"})
    ours = [each for each in nodes if issubclass(each, root)]
    for each in ours or nodes:
        if unread[each]:
            told = f"{each.__name__} derives from {unread[each]}, which is not read"
            raise Unreadable(nodes[each].lineno, f"{told}: derive from jkbench.{base} or from a class of this file")
    leaves = [each for each in ours if not any(each in other.__mro__[1:] for other in ours)]
    if not leaves:
        raise Unreadable(1, f"defines no class derived from {base}: derive one from jkbench.{base}")
    if len(leaves) > 1:
        names = ", ".join(f"{leaf.__name__} (line {nodes[leaf].lineno})" for leaf in leaves)
        told = f"{names} all derive from {base}: keep one of them in this file"
        raise Unreadable(nodes[leaves[1]].lineno, told)
    return [nodes[each] for each in leaves[0].__mro__ if each in nodes]


def _classes(tree: ast.Module, root: type, exported: set[str]) -> tuple[dict[type, ast.ClassDef], dict[type, str]]:
    """The classes of the file, each as an empty class of the same bases, so that Python itself orders them.

    Returns where each is written, and the first of its bases that is neither in the file nor ``exported``.
    """
    nodes: dict[type, ast.ClassDef] = {}
    unread: dict[type, str] = {}
    known: dict[str, type] = {"object": object}
    meaning: dict[str, str] = {}
    for node in tree.body:
        meaning.update(imported(node))
        if meaning.get("*") == "jkbench.*":
            meaning[root.__name__] = f"jkbench.{root.__name__}"
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            written = _dotted(node.value)
            if written in known:
                known[node.targets[0].id] = known[written]
            meaning[node.targets[0].id] = _full(written, meaning)
        elif isinstance(node, ast.ClassDef):
            names = [_dotted(each) for each in node.bases]
            known |= {name: root for name in names if name not in known and _full(name, meaning) in exported}
            bases = tuple(known[name] for name in names if name in known)
            written_out = zip(names, map(ast.unparse, node.bases), strict=True)
            foreign = [_full(name, meaning) or text for name, text in written_out if name not in known]
            try:
                made = type(node.name, bases, {})
            except TypeError:
                raise Unreadable(node.lineno, f"the bases of {node.name} have no order that Python accepts") from None
            known[node.name], nodes[made] = made, node
            unread[made] = next(filter(None, [*foreign, *(unread.get(each, "") for each in bases)]), "")
    return nodes, unread


def imported(node: ast.AST) -> list[tuple[str, str]]:
    """What an import binds: (local name, full dotted name)."""
    if isinstance(node, ast.Import):
        return [(each.asname or each.name, each.name) for each in node.names]
    if isinstance(node, ast.ImportFrom):
        module = "." * node.level + (node.module or "")
        return [(each.asname or each.name, f"{module}.{each.name}") for each in node.names]
    return []


def _dotted(node: ast.expr) -> str:
    """``a.b.C`` as text; empty for what is computed."""
    if isinstance(node, ast.Attribute):
        before = _dotted(node.value)
        return before and f"{before}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _full(dotted: str, meaning: dict[str, str]) -> str:
    first, dot, rest = dotted.partition(".")
    return meaning.get(first, first) + dot + rest
