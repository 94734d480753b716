"""A user's folder: small tasks of their own, and a method."""

from __future__ import annotations

from pathlib import Path

TASK = """
name = "NAME"
version = 1
kind = "distillation"
title = "Small"
shots = [2, 4]
seeds = 2
baseline = "scratch"
target = { dataset = "digits", classes = [0, 1, 2] }
[teacher]
architecture = "vgg:8-M-8"
training = { learning_rate = 1e-3, steps = 10, batch = 32 }
[student]
architecture = "vgg:4-M-4"
training = { learning_rate = 1e-3, steps = STEPS, batch = 8 }
"""
METHOD = '''"""Test."""
from jkbench import Method, cross_entropy

class Mine(Method):
    tasks = {"distillation"}

    def loss(self, batch, student, teacher):
        yield "ce", cross_entropy(student.logits, batch.y)
'''


def make_folder(folder: Path) -> Path:
    """Task files ``small.toml`` and ``slow.toml``, and an empty ``methods/``."""
    for name, steps in (("small", "4"), ("slow", "150")):
        (folder / f"{name}.toml").write_text(TASK.replace("NAME", name).replace("STEPS", steps))
    (folder / "methods").mkdir()
    return folder
