"""What a plugin's source shows without running it: test labels in reach, private names, parameters that do nothing."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from jkbench import hashing
from jkbench.plugins.describe import Plugin
from jkbench.plugins.inheritance import imported

_READERS = ("sklearn.datasets", "torchvision.datasets", "jkbench.engine", "jkbench.data", "jkbench.plugins")
_ALL_FIELDS = {"model_dump", "model_dump_json", "model_copy", "__dict__"}


def reads_images(plugin: Plugin) -> Iterator[str]:
    """Imports that could hand a method the test labels, each with its line."""
    for node in ast.walk(_tree(plugin)):
        for _, name in imported(node):
            if name in ("sklearn", "torchvision") or any(f"{name}.".startswith(f"{reader}.") for reader in _READERS):
                told = f"imports {name}: a method sees the batches that it is given"
                yield f"{plugin.path}:{node.lineno}: {told}"  # type: ignore[attr-defined]


def private_reads(plugin: Plugin) -> Iterator[str]:
    """Private attributes of other objects that the file uses (``student._outputs``), each with its line."""
    tree = _tree(plugin)
    own = {"self", "cls"} | {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=owner, attr=name):
                pass
            case ast.Call(func=ast.Name(id="getattr"), args=[owner, ast.Constant(value=str(name)), *_]):
                pass
            case _:
                continue
        written = ast.unparse(owner)
        if name.startswith("_") and not name.endswith("__") and written not in own and written != "super()":
            yield f"{plugin.path}:{node.lineno}: {written}.{name} is private"


def signals(plugin: Plugin) -> set[str]:
    """What the file reads of ``student`` and ``teacher``: logits, attention, jacobian …"""
    owners = ("student", "teacher")
    nodes = ast.walk(_tree(plugin))
    return {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in owners
    }


def unused_parameters(plugin: Plugin) -> Iterator[str]:
    """Parameters that the file declares and never reads, each with its line."""
    tree = _tree(plugin)
    nodes = list(ast.walk(tree))
    attributes = [node for node in nodes if isinstance(node, ast.Attribute)]
    if {node.attr for node in attributes} & _ALL_FIELDS:
        return
    of_self = [node for node in attributes if isinstance(node.value, ast.Name) and node.value.id == "self"]
    handed_on = sum(isinstance(node, ast.Name) and node.id == "self" for node in nodes) > len(of_self)
    read = {node.attr for node in (attributes if handed_on else of_self)}
    read |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    for parameter in plugin.parameters:
        if parameter.name not in read:
            yield f"{plugin.path}:{parameter.line}: {parameter.name} is declared and never read"


def _tree(plugin: Plugin) -> ast.Module:
    return hashing.tree_of(plugin.path.read_text(encoding="utf-8"))
