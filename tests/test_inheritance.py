"""A plugin may derive from another class of its file: what is read is what Python would run, or it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from jkbench.plugins import parameters
from jkbench.plugins.describe import Plugin, read
from jkbench.plugins.loading import load

BASE = '''"""Mine."""
from jkbench import Method, Weight, cross_entropy


class Base(Method):
    cite = "base"
    tasks = {"distillation"}
    separate_head = True
    ce: Weight = 1.0
    act: Weight = 2.0

    def loss(self, batch, student, teacher):
        yield "ce", self.ce * cross_entropy(student.logits, batch.y)
'''
LOSS = "    def loss(self, batch, student, teacher):\n        yield 'mine', student.logits.sum()\n"


def plugin(folder: Path, text: str) -> Plugin:
    path = folder / "mine.py"
    path.write_text(text)
    return read(path, "method", "test")


def test_the_most_derived_class_is_the_plugin(tmp_path: Path) -> None:
    """Read as `Base`, the wrong loss would run without a word."""
    found = plugin(tmp_path, f"{BASE}\n\nclass Mine(Base):\n    ce: Weight = 3.0\n    jac: Weight = 4.0\n\n{LOSS}")
    assert found.broken is None
    assert found.class_name == "Mine"
    assert [name for name, _ in load(found)().loss(None, _Student(), None)] == ["mine"]


class _Student:
    @property
    def logits(self) -> _Student:
        return self

    def sum(self) -> float:
        return 1.0


@pytest.mark.parametrize(
    "derived",
    [
        "class Mine(Base):\n    ce: Weight = 3.0\n    jac: Weight = 4.0\n",
        "class Mine(Base):\n    cite = 'mine'\n\n\nclass Deeper(Mine):\n    act: Weight = 5.0\n",
        "class Extra:\n    extra: Weight = 6.0\n    cite = 'extra'\n\n\nclass Mine(Extra, Base):\n    pass\n",
        "class Left(Base):\n    ce: Weight = 7.0\n    left: Weight = 0.0\n\n\n"
        "class Right(Base):\n    ce: Weight = 8.0\n    reference = True\n\n\nclass Mine(Left, Right):\n    pass\n",
        "Alias = Base\n\n\nclass Mine(Alias):\n    ce: Weight = 9.0\n",
    ],
    ids=["own", "chain", "mixin", "diamond", "alias"],
)
def test_facts_and_parameters_are_inherited_as_python_does(tmp_path: Path, derived: str) -> None:
    found = plugin(tmp_path, f"{BASE}\n\n{derived}")
    assert found.broken is None
    imported = load(found)
    assert imported.__name__ == found.class_name
    for fact, value in found.facts.items():
        assert getattr(imported, fact) == value, fact
    defaults = imported().model_dump(mode="json")
    assert parameters.validate(found, {}) == defaults
    assert [parameter.name for parameter in found.parameters] == list(defaults)


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("from jkbench import Method as M", "M"),
        ("import jkbench", "jkbench.Method"),
        ("import jkbench as jk", "jk.Method"),
        ("from jkbench.plugins.method import Method", "Method"),
        ("from jkbench.plugins import method", "method.Method"),
        ("import jkbench.plugins.method", "jkbench.plugins.method.Method"),
        ("from jkbench import *", "Method"),
    ],
)
def test_method_is_found_under_every_name_that_python_gives_it(tmp_path: Path, given: str, base: str) -> None:
    found = plugin(tmp_path, f'"""Mine."""\n{given}\n\n\nclass Mine({base}):\n{LOSS}')
    assert (found.broken, found.class_name) == (None, "Mine")
    assert load(found).__name__ == "Mine"


def test_helper_classes_may_derive_from_what_they_like(tmp_path: Path) -> None:
    found = plugin(tmp_path, f"{BASE}\n\nimport enum\n\n\nclass Colour(enum.Enum):\n    RED = 1\n")
    assert (found.broken, found.class_name) == (None, "Base")


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("from elsewhere import Method\n\n\nclass Mine(Method):\n    pass\n", 4, "Mine derives from elsewhere.Method"),
        ("from json import JSONDecoder as Method\n\n\nclass Mine(Method):\n    pass\n", 4, "json.JSONDecoder"),
        ("class Method:\n    pass\n\n\nclass Mine(Method):\n    pass\n", 1, "no class derived from Method"),
        (BASE + "\n\nclass Mine(Base, make()):\n    pass\n", 16, "derives from make(), which is not read"),
        (BASE + "\n\nimport json\n\n\nclass Mine(json.JSONDecoder, Base):\n    pass\n", 19, "json.JSONDecoder"),
        (BASE + "\n\nclass A(Base):\n    pass\n\n\nclass B(Base):\n    pass\n", 20, "A (line 16), B (line 20)"),
        (BASE + "\n\nclass Mine(Base):\n    ce = 3.0\n", 17, "'ce' is a parameter of a base: write ce: Weight"),
        (BASE + "\n\nclass Mine(Method, Base):\n    pass\n", 16, "no order that Python accepts"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(tmp_path: Path, text: str, line: int, told: str) -> None:
    found = plugin(tmp_path, text)
    assert found.broken is not None
    assert found.broken.startswith(f"{tmp_path / 'mine.py'}:{line}: ")
    assert told in found.broken
