"""The teachers of this study: `recipes.py` writes a task file for each into `tasks/`, and prints their paths."""

from itertools import product
from pathlib import Path

HERE = Path(__file__).parent
OPTIMISERS = {
    "adam": 'optimiser = "adam", learning_rate = 1e-3',
    "sgd": 'optimiser = "sgd", learning_rate = 0.05',
    "sgd-decay-5e-4": 'optimiser = "sgd", learning_rate = 0.05, weight_decay = 5e-4',
    "sgd-decay-5e-3": 'optimiser = "sgd", learning_rate = 0.05, weight_decay = 5e-3',
}
STEPS = {"short": 40, "long": 600}
VIEWS = {"": "", "-views": ", augment = { shift = 1 }"}
TASKS = [f"digits-taught-{o}-{s}{v}" for o, s, v in product(OPTIMISERS, STEPS, VIEWS)]

TASK = """# digits-fewshot with another teacher; written by studies/teaching/recipes.py.
name = "{name}"
version = 1
kind = "distillation"
title = "Handwritten digits, few shots, taught by {told}"
description = "digits-fewshot with a teacher trained by another recipe."
shots = [1, 5]
seeds = 6
baseline = "distill"
selection = "The parameters are those that jkbench tune chose on digits-fewshot, with that task's teacher."

[target]
dataset = "digits"

[teacher]
architecture = "vgg:32-32-M-64-64-M-128"
training = {{ {optimiser}, steps = {steps}, drop_at = {drop}, batch = 64{views} }}

[student]
architecture = "vgg:16-M-32-M-32"
training = {{ optimiser = "adam", learning_rate = 1e-3, steps = 300, drop_at = 240, batch = 32 }}
"""

if __name__ == "__main__":
    (HERE / "tasks").mkdir(exist_ok=True)
    for name, (optimiser, length, views) in zip(TASKS, product(OPTIMISERS, STEPS, VIEWS), strict=True):
        steps = STEPS[length]
        told = f"{optimiser.replace('-decay-', ' with weight decay ')}, {steps} steps" + (
            ", shifted images" if views else ""
        )
        text = TASK.format(
            name=name, told=told, optimiser=OPTIMISERS[optimiser], steps=steps, drop=steps * 4 // 5, views=VIEWS[views]
        )
        (HERE / "tasks" / f"{name}.toml").write_text(text)
        print(f"studies/teaching/tasks/{name}.toml")
