"""The teachers of this study: `recipes.py SUITE` writes a task file for each into `tasks/`, and prints their paths."""

import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path

HERE = Path(__file__).parent
OPTIMISERS = {
    "adam": 'optimiser = "adam", learning_rate = 1e-3',
    "sgd": 'optimiser = "sgd", learning_rate = 0.05',
    "sgd-decay-5e-4": 'optimiser = "sgd", learning_rate = 0.05, weight_decay = 5e-4',
    "sgd-decay-5e-3": 'optimiser = "sgd", learning_rate = 0.05, weight_decay = 5e-3',
}


@dataclass(frozen=True)
class Suite:
    """Teachers of one data set, and their students. ``like``: the task whose student and chosen parameters these have.

    ``steps``: of a teacher's training; ``views``: its augmentation, and what to call it; ``own``: what that task's own
    teacher is to these.
    """

    name: str
    title: str
    like: str
    teacher: str
    student: str
    steps: dict[str, int]
    views: tuple[str, str]
    optimisers: tuple[str, ...]
    seeds: range
    own: str

    def recipes(self) -> dict[str, str]:
        """The task files' text, by the tasks' names."""
        views = {"": "", "-views": f", augment = {{ {self.views[0]} }}"}
        found = {}
        for optimiser, length, viewed in product(self.optimisers, self.steps, views):
            steps = self.steps[length]
            told = f"{optimiser.replace('-decay-', ' with weight decay ')}, {steps} steps"
            name = f"{self.name}-taught-{optimiser}-{length}{viewed}"
            found[name] = TASK.format(
                name=name, like=self.like, title=self.title, told=told + (f", {self.views[1]}" if viewed else ""),
                dataset=self.name, teacher=self.teacher, student=self.student, optimiser=OPTIMISERS[optimiser],
                steps=steps, drop=steps * 4 // 5, views=views[viewed],
            )  # fmt: skip
        return found


TASK = """# {like} with another teacher; written by studies/teaching/recipes.py.
name = "{name}"
version = 1
kind = "distillation"
title = "{title}, taught by {told}"
description = "{like} with a teacher trained by another recipe."
shots = [1, 5]
seeds = 6
baseline = "distill"
selection = "The parameters are those that jkbench tune chose on {like}, with that task's teacher."

[target]
dataset = "{dataset}"

[teacher]
architecture = "{teacher}"
training = {{ {optimiser}, steps = {steps}, drop_at = {drop}, batch = 64{views} }}

[student]
architecture = "{student}"
training = {{ optimiser = "adam", learning_rate = 1e-3, steps = 300, drop_at = 240, batch = 32 }}
"""

SUITES = {
    suite.name: suite
    for suite in (
        Suite(
            name="digits", title="Handwritten digits, few shots", like="digits-fewshot",
            teacher="vgg:32-32-M-64-64-M-128", student="vgg:16-M-32-M-32", steps={"short": 40, "long": 600},
            views=("shift = 1", "shifted images"), optimisers=tuple(OPTIMISERS), seeds=range(300, 308),
            own="one of these (`adam-long`)",
        ),
        Suite(
            name="cifar10", title="CIFAR-10, few shots, a narrow student", like="cifar10-lite",
            teacher="vgg:16-M-32-32-M-64-64-M-128", student="vgg:16-M-32-M-64-M-64",
            steps={"short": 400, "long": 2400}, views=("flip = true, shift = 4", "flipped and shifted images"),
            optimisers=("adam", "sgd-decay-5e-4", "sgd-decay-5e-3"), seeds=range(300, 304),
            own="a larger network trained for longer, and they were chosen with 20 images per class",
        ),
    )
}  # fmt: skip

if __name__ == "__main__":
    (HERE / "tasks").mkdir(exist_ok=True)
    for name, text in SUITES[sys.argv[1]].recipes().items():
        (HERE / "tasks" / f"{name}.toml").write_text(text)
        print(f"studies/teaching/tasks/{name}.toml")
