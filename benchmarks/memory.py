"""What a training on many photographs takes of memory, stage by stage: ``python benchmarks/memory.py`` (Linux).

Photographs of noise are prepared once in a temporary folder (10,000 of 224×224 pixels: 1.5 GB of disk); then a new
process reads them as a trial does, trains some steps on all of them and scores. Printed: the peak of resident memory in
each stage, pages of mapped files included, how much of it is above what the libraries take before anything is read, and
the seconds since the process started.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PLUGIN = '''"""Photographs of noise."""

import numpy as np

from jkbench import Dataset, Split
from jkbench.data import prepared

SIZE, IMAGES = {size}, {images}


def noise(folder, count, seed):
    file, stream = folder / f"{{count}}.bin", np.random.default_rng(seed)
    with file.open("wb") as written:
        for _ in range(count):
            written.write(stream.bytes(SIZE * SIZE * 3))
    images = np.memmap(file, np.uint8, "c", shape=(count, SIZE, SIZE, 3))
    return Split(images, np.arange(count) % len(Photographs.classes))


class Photographs(Dataset):
    cite = ""
    classes = {classes}

    def load(self):
        def made(folder):
            return {{"train": noise(folder, IMAGES, 0), "test": noise(folder, 134, 1)}}

        return prepared.with_validation(prepared.prepared("photographs", self.classes, "", made), 1)
'''
TASK = """
name = "photographs"
version = 1
kind = "robustness"
title = "Photographs"
description = "Photographs."
shots = ["full"]
seeds = 1
baseline = "scratch"
selection = "Nothing is selected."
[target]
dataset = "photographs"
[student]
architecture = "{student}"
training = {{ optimiser = "adam", learning_rate = 1e-3, steps = 4, batch = {batch} }}
[evaluation]
noise = [0.1]
"""


def stages(folder: Path, method: str) -> None:
    """In a process of its own: a trial, and what each stage takes."""
    import torch

    from jkbench import planning as plan
    from jkbench.engine import environment, scoring
    from jkbench.engine import images as image_sets
    from jkbench.engine.setup import Where, make_ready, trained_networks
    from jkbench.plugins.discovery import discover
    from jkbench.tasks import task as tasks

    torch.set_num_threads(1)
    environment.prepare()
    libraries = peak()
    print(f"{'libraries':24s} {libraries:6,.0f} MiB, {age():34.1f} s", flush=True)

    def told(stage: str) -> None:
        found = peak()
        above = f"{found - libraries:6,.0f} above the libraries"
        print(f"{stage:24s} {found:6,.0f} MiB, {above}, {age():6.1f} s", flush=True)

    task, index = tasks.load(str(folder / "photographs.toml")), discover((folder / "plugins",))
    data = image_sets.of_task(task, index.datasets())
    told("images checked")
    (trial,) = plan.make(task, index, method).trials
    where = Where(torch.device("cpu"), folder)
    ready = make_ready(trial, where.device, data, trained_networks(trial, where, data))
    told("ready to train")
    for batch, student, teacher in ready.loop:
        ready.loop.step(ready.method.loss(batch, student, teacher))
    told(f"steps of {len(batch.y)} images")
    del batch, student, teacher
    environment.trim()
    peak()
    scoring.score(ready.student, ready.scored, ready.teaching, (), 1)
    told("scored")


def peak() -> float:
    """MiB that this process has had at most since the last call."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").split("\n")
    found = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return found / 1024


def age() -> float:
    """Seconds since this process was started."""
    ticks = float(Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Prepare photographs of noise, and train on them in processes of their own."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--student", default="timm:resnet18")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--methods", default="scratch,jacobian-norm")
    parser.add_argument("--stages", nargs=2, metavar=("FOLDER", "METHOD"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.stages:
        stages(Path(given.stages[0]), given.stages[1])
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        classes = tuple(f"room {number}" for number in range(67))
        text = PLUGIN.format(size=given.size, images=given.images, classes=classes)
        (folder / "plugins/datasets").mkdir(parents=True)
        (folder / "plugins/datasets/photographs.py").write_text(text, encoding="utf-8")
        task = TASK.format(student=given.student, batch=given.batch)
        (folder / "photographs.toml").write_text(task, encoding="utf-8")
        places = {"JKBENCH_DATA": str(folder / "data"), "JKBENCH_CACHE": str(folder / "cache")}
        command = [sys.executable, __file__, "--stages", str(folder)]
        print(f"{given.images:,} images of {given.size}×{given.size}, {given.student}")
        methods = given.methods.split(",")
        for number, method in enumerate([methods[0], *methods]):
            print(f"\n{method}, {'images prepared before' if number else 'images prepared now'}", flush=True)
            subprocess.run([*command, method], env=os.environ | places, check=True)


if __name__ == "__main__":
    main()
