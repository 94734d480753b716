"""What `jkbench run` and `jkbench check` say of a plugin's mistake: one sentence, with the line of its own file."""

from __future__ import annotations

from pathlib import Path

import pytest
import small

from jkbench.engine.check import check
from jkbench.engine.trial import run
from jkbench.execute.progress import outcome
from jkbench.plugins.describe import read
from jkbench.plugins.discovery import discover

PLUGIN = '''"""Test."""
from torch import nn

from jkbench import Method, Weight, cross_entropy, squared_error


class Mine(Method):
    tasks = {"distillation", "robustness"}
    ce: Weight = 1.0

'''
CE = """
    def loss(self, batch, student, teacher):
        yield "ce", cross_entropy(student.logits, batch.y)
"""
LINE = len(PLUGIN.splitlines()) + 1
"""The first line that a test writes."""

INSIDE = {
    'squared_error(student.modules["r"](student.embedding), teacher.embedding)': (
        "there is no module 'r': return it from modules(self, student, teacher)"
    ),
    'cross_entropy(student.of("peer").logits, batch.y)': '"peer": student.twin("peer")}',
    "squared_error(student.embedding, teacher.embedding)": (
        "the student's (10, 8) is compared with the teacher's (10, 16)"
    ),
    "(student.embedding - teacher.embedding).sum()": (
        "The size of tensor a (8) must match the size of tensor b (16) at non-singleton dimension 1: where student and "
        "teacher differ in width, map one to the other with a module that modules() returns"
    ),
    "nn.Linear(16, 16)(student.embedding).sum()": "where student and teacher differ in width",
    "nn.Conv2d(16, 16, 1)(student.features()[-1]).sum()": "where student and teacher differ in width",
    "student.network(batch.x).sum()": "Signals has no 'network': known: at, attention",
    "student.feature_maps.sum()": "Signals has no 'feature_maps': did you mean 'features'",
    "teacher.feature_maps.sum()": "TeacherSignals has no 'feature_maps': did you mean 'features'",
    "batch.labels.sum()": "Batch has no 'labels': known: clock, correct",
    'student.features("second")[0].sum()': """there are no layers 'second': write "all", "first", "middle", "last\"""",
    "student.attention(2)[0].sum()": """there are no layers 2: write "all", "first", "middle", "last", "2" or "1+3\"""",
    'student.features("0")[0].sum()': "there are no layers '0'",
    "setattr(self, 'r', nn.Linear(8, 16))": "a method holds no state: return its modules from modules(self, student",
    "undefined": "NameError: name 'undefined' is not defined",
    "exit(0)": "SystemExit: 0",
}
"""The value of a loss term, and what is told."""

AROUND = {
    "def modules(self, student, teacher): return nn.Linear(8, 16)": (
        "modules() returns Linear(in_features=8, out_features=16, bias=True): return a dict from names to modules"
    ),
    'def modules(self, student, teacher): return {"r": 3}': "modules() returns {'r': 3}: return a dict from names",
    "def inputs(self, batch): return batch.x[1:]": "inputs() returns 9 images: return 10, one for each label",
    "def inputs(self, batch): return None": "inputs() returns a NoneType: return 10, one for each label",
    'def initial(self, start): return {"a": 1}': "initial() returns other weights than the student's",
    "def deployed(self, student, modules, teacher): return modules": (
        "deployed() returns a Modules, which is not a network: return jkbench.Network(body, head)"
    ),
    'def deployed(self, student, modules, teacher): return student.twin("a")': (
        "Network has no 'twin': known: body, forward, head"
    ),
    "def fit(self, loop): [loop.step(batch) for batch in loop]": (
        "loop.step() takes the terms of a loss: write `for batch, student, teacher in loop: loop.step(self.loss(batch"
    ),
    "def fit(self, loop): yield from loop": "fit() took 0 steps, but the budget is 6: write `for batch, student",
}
"""A function of the method, and what is told."""

BEFORE = {
    "def modules(self, student): return {}": (
        "modules takes 2 arguments, and is called with 3: write def modules(self, student, teacher)"
    ),
    "def loss(self, batch, student): yield": "write def loss(self, batch, student, teacher)",
    "def __init__(self): self.r = nn.Linear(8, 16)": "modules are returned from modules(self, student, teacher)",
    "kd = 1.0": "kd has no type: write kd: Weight = … for a parameter, kd: ClassVar = … for a constant",
}
"""A line of the class, and what is told before anything runs."""


def reason(folder: Path, references: Path, text: str, kind: str = "distillation") -> str:
    (folder / "mine.py").write_text(text)
    record = run(small.trial(discover([folder]), "mine", kind), small.where(references))
    assert record.reason in outcome(record)
    return record.reason


@pytest.mark.parametrize(("term", "told"), INSIDE.items())
def test_a_mistake_in_a_loss_is_told_with_its_line(tmp_path: Path, references: Path, term: str, told: str) -> None:
    found = reason(tmp_path, references, f'{PLUGIN}{CE}        yield "m", {term}\n')
    assert found.startswith(f"mine.py:{LINE + 3} in loss: ")
    assert told in found


@pytest.mark.parametrize(("function", "told"), AROUND.items())
def test_what_a_function_returns_is_told_with_its_line(
    tmp_path: Path, references: Path, function: str, told: str
) -> None:
    found = reason(tmp_path, references, f"{PLUGIN}    {function}\n{CE}")
    assert found.startswith(f"mine.py:{LINE} in ")
    assert told in found


@pytest.mark.parametrize(("line", "told"), BEFORE.items())
def test_a_mistake_that_can_be_read_is_told_before_anything_runs(tmp_path: Path, line: str, told: str) -> None:
    (tmp_path / "mine.py").write_text(f"{PLUGIN}    {line}\n")
    broken = read(tmp_path / "mine.py", "method", "test").broken or ""
    assert f"mine.py:{LINE}: " in broken
    assert told in broken


def test_a_teacher_is_none_in_robustness(tmp_path: Path, references: Path) -> None:
    text = f'{PLUGIN}{CE}        yield "m", teacher.logits.sum()\n'
    assert "teacher is None in robustness tasks" in reason(tmp_path, references, text, "robustness")


def test_a_term_of_the_wrong_form_is_told_with_its_line(tmp_path: Path, references: Path) -> None:
    found = reason(tmp_path, references, f"{PLUGIN}{CE}        yield student.logits.sum()\n")
    assert found == f'mine.py:{LINE + 1} in loss: the loss yields a Tensor: write yield "name", tensor'


def test_check_tells_the_same_sentences(tmp_path: Path) -> None:
    """And what only it looks at: what is deployed, terms that train modules alone, parameters without bounds."""
    text = PLUGIN.replace(', "robustness"', "") + "    steps: int = 3\n    name: str = 'a'\n"
    text += '    def modules(self, student, teacher): return {"peer": student.twin("peer")}\n'
    peer = f'{CE}        yield "peer", self.ce * cross_entropy(student.of("peer").logits, batch.y)\n'

    def seen(after: str) -> str:
        (tmp_path / "mine.py").write_text(text + after)
        return "\n".join(f"{'' if f.held else 'FAILS '}{f.what}: {f.seen}" for f in check(tmp_path / "mine.py"))

    found = seen(peer)
    assert 'peer trains only modules, not the student: write auxiliary = {"peer"}' in found
    assert "its parameters have types and defaults: ce=1.0, steps=3, name=a; without bounds: steps, name" in found
    found = seen(f'{CE}    def deployed(self, student, modules, teacher): raise ValueError("no")\n')
    assert f"mine.py:{LINE + 6} in deployed: ValueError: no" in found
    assert "FAILS distillation: it trains, and what it deploys is scored" in found
