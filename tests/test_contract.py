"""`jkbench check`: every built-in plugin holds, and each broken promise is seen."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from conftest import ROOT

import jkbench
from jkbench import maths
from jkbench.cli.new import write
from jkbench.data import photographs, prepared
from jkbench.engine.check import check
from jkbench.engine.mistakes import public
from jkbench.engine.signals import Batch, Signals
from jkbench.errors import UserError
from jkbench.plugins.describe import read

PLUGINS = sorted([*(ROOT / "methods").glob("*.py"), *(ROOT / "datasets").glob("*.py")])

PLUGIN = '''"""Test."""
import torch
from jkbench import Method, cross_entropy, squared_error

class Mine(Method):
    tasks = {"distillation"}

    def loss(self, batch, student, teacher):
        ce = cross_entropy(student.logits, batch.y)
        STATEMENT
'''


def at_hand(path: Path) -> bool:
    """Whether a data set loads without fetching: at its default size, where it has sizes."""
    source = read(path, "dataset", "x")
    if not (source.facts["content"] or source.facts["fetched"]):
        return True
    sizes = [int(parameter.default or 0) for parameter in source.parameters if parameter.name == "size"]
    if not sizes:
        return prepared.is_prepared(path.stem)
    return sizes[0] in photographs.sizes(path.stem) or sizes[0] <= (photographs.imported_size(path.stem) or 0)


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: path.stem)
def test_built_in_plugins_hold(path: Path) -> None:
    if path.parent.name == "datasets" and not at_hand(path):
        pytest.skip(f"the images of {path.stem} are not here (set JKBENCH_DATA to a folder that has them)")
    assert [finding for finding in check(path) if not finding.held] == []


@pytest.mark.parametrize("family", ["method", "dataset"])
def test_templates_hold_as_they_are(nowhere: Path, family: str) -> None:
    path = write(family, "My-own", nowhere / f"{family}s")
    findings = list(check(path))
    assert len(findings) > 4
    assert [finding for finding in findings if not finding.held] == []


def test_the_contract_has_each_public_name_and_each_loss_as_it_is_called() -> None:
    """Of a batch, of signals, and of what `jkbench` exports for losses."""
    text = (ROOT / "docs" / "contract.md").read_text()
    named = set(re.findall(r"`(\w*\.\w+)", text))
    assert {f"batch.{name}" for name in public(Batch)} - named == {"batch.clock"}  # the engine's
    assert {f".{name}" for name in public(Signals)} - {f".{n.partition('.')[2]}" for n in named} == {".took_jacobian"}
    losses = text.partition("\n## Losses\n")[2].partition("\n## ")[0]
    calls = dict(re.findall(r"`(\w+)\(([^)]*)\)`", losses))
    assert set(calls) == set(jkbench.__all__) & set(vars(maths))
    for name, arguments in calls.items():
        inspect.signature(getattr(maths, name)).bind(*arguments.split(", "))


def failures(folder: Path, text: str) -> str:
    (folder / "mine.py").write_text(text)
    return "\n".join(f"{f.what}: {f.seen}" for f in check(folder / "mine.py") if not f.held)


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("yield 'ce', ce + torch.log(ce - ce - 1)", "every loss term is finite: ce = nan"),
        ("yield 'ce', ce * (1 + torch.rand(()))", "the global random state is untouched"),
        ("yield 'ce', ce * (1 + torch.rand(()))", "the same seed gives the same numbers"),
        ("yield 'ce', 0 * ce", "gradients reach the student"),
        ("yield 'ce', ce + teacher._network(batch.x).logits.square().mean()", "gradients never reach the teacher"),
        ("yield 'ce', ce; teacher._network.train()(batch.x)", "which stays unchanged"),
        ("yield 'ce', ce + undefined", "mine.py:10 in loss: NameError: name 'undefined' is not defined"),
        ("from sklearn.datasets import load_digits; yield 'ce', ce", "it reads no images of its own"),
        ("from jkbench.engine import resident; yield 'ce', ce", "it reads no images of its own"),
        ("import sklearn; yield 'ce', ce", "it reads no images of its own"),
        ("yield 'ce', ce; teacher._network", "mine.py:10: teacher._network is private; public are batch: x, y, index"),
        ("yield 'ce', ce; getattr(student, '_outputs')", "student._outputs is private"),
        ("yield 'ce', ce; yield 'ce', ce", "two terms are called 'ce'"),
        ("yield 'ce', ce; yield 'act', 0.5", "loss term 'act' is not a scalar tensor: it is a float"),
        ("yield 'ce', student.logits", "loss term 'ce' is not a scalar tensor: it has the shape (10, 5)"),
        ("yield ce", "mine.py:8 in loss: the loss yields a Tensor"),
        ("return ce", "mine.py:8 in loss: the loss yields a Tensor"),
        ("yield 1, ce", "mine.py:8 in loss: the loss yields a tuple"),
        ("import sys; sys.exit(0)", "mine.py:10 in loss: SystemExit: 0"),
        ("yield 'ce', ce + len(1)", "TypeError: object of type 'int' has no len()"),
        ("yield 'ce', ce; yield 'jac', student.jacobian(batch.correct).detach().square().sum()", "jac trains nothing"),
    ],
)
def test_each_broken_promise_is_seen(tmp_path: Path, statement: str, told: str) -> None:
    assert told in failures(tmp_path, PLUGIN.replace("STATEMENT", statement))


def test_a_method_that_smuggles_test_labels_in_gives_other_numbers(tmp_path: Path) -> None:
    """Not by an import that can be read: by walking to the test split that the process holds."""
    text = (
        PLUGIN.replace("STATEMENT", "yield 'ce', ce * self.peek()")
        + """
    def peek(self):
        import gc
        held = [o for o in gc.get_objects() if type(o).__name__ == "TaskData"]
        return 1.0 + float(sum(int(o.target.splits["test"].labels[0]) for o in held))
"""
    )
    assert "the same seed gives the same numbers" in failures(tmp_path, text)


def test_a_parameter_that_is_never_read_is_seen(tmp_path: Path) -> None:
    text = PLUGIN.replace("squared_error\n", "squared_error, Weight\n")
    declared = text.replace("    def", "    jac: Weight = 1.0\n\n    def", 1)
    assert "mine.py:8: jac is declared and never read" in failures(
        tmp_path, declared.replace("STATEMENT", "yield 'ce', ce")
    )
    for reads in ("self.jac * ce", "getattr(self, 'jac') * ce", "self.model_dump()['jac'] * ce"):
        assert failures(tmp_path, declared.replace("STATEMENT", f"yield 'ce', {reads}")) == ""


@pytest.mark.parametrize(
    ("plugin", "told"),
    [
        ("import sys; sys.exit(0)", "cannot be imported: SystemExit"),
        ("def model_post_init(self, context): raise KeyError(context)", "mine.py:6 in model_post_init: KeyError"),
        ("cite = 3", "cite is 3"),
        ("def modules(self, student, teacher): return 3", "it trains"),
        ("def initial(self, start): return {'a': 1}", "it trains"),
    ],
)
def test_check_never_ends_with_a_traceback(tmp_path: Path, plugin: str, told: str) -> None:
    text = PLUGIN.replace("STATEMENT", "yield 'ce', ce").replace("    tasks =", f"    {plugin}\n    tasks =")
    assert told in failures(tmp_path, text)


DATASET = '''"""Test."""
import numpy as np
from jkbench import Dataset, Split, carve

class Mine(Dataset):
    classes = ("a", "b")
    size: int = 8

    def load(self):
        images = np.zeros((40, 4, 4, 1), np.uint8) + self.size
        STATEMENT
'''


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("return carve(images, np.array([0, 1] * 10), 2, 2)", "20 labels for 40 images"),
        ("return carve(images, np.array([0, 1] * 30), 2, 2)", "60 labels for 40 images"),
        (
            "return dict.fromkeys(('train', 'validation', 'test'), Split(images, np.array([0, 1])))",
            "2 labels for 40 images",
        ),
        ("return 3", "TypeError"),
        ("import sys; sys.exit(0)", "SystemExit"),
    ],
)
def test_images_without_a_label_each_are_seen(tmp_path: Path, statement: str, told: str) -> None:
    assert told in failures(tmp_path, DATASET.replace("STATEMENT", statement))


def test_a_broken_dataset_is_seen(tmp_path: Path) -> None:
    text = '''"""Test."""
import numpy as np
from jkbench import Dataset, Split

class Mine(Dataset):
    classes = ("a", "b")

    def load(self):
        stream = np.random.default_rng(SEED)
        images = stream.integers(0, 255, (8, 4, 4, 1)).astype(DTYPE)
        split = Split(images, np.array([0, 1] * 4))
        return {"train": split, "validation": split, "test": split}
'''
    assert "no image in both" in failures(tmp_path, text.replace("SEED", "0").replace("DTYPE", "np.uint8"))
    assert "it loads the same images every time" in failures(
        tmp_path, text.replace("SEED", "None").replace("DTYPE", "np.uint8")
    )
    assert "float32" in failures(tmp_path, text.replace("SEED", "0").replace("DTYPE", "np.float32"))


def test_no_file_is_a_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no file"):
        list(check(tmp_path / "none.py"))
