"""The peers' loop and jkbench side by side, in one run: ``python benchmarks/peers/run.py``.

Prints trials per minute of each on this whole machine, and their ratio: the peers' one process with torch's default
threads, jkbench's warm workers (one a core). jkbench's time a trial is the slope between few and many trials, so that
everything of a trial counts (data, start, training, scoring, record) and the start of the workers does not; that is
printed beside. Both sides of a method run one after the other, so that a noisy machine is noisy for both.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch
from recipes import RECIPES, trial

from jkbench import planning as plan
from jkbench.data.arrays import subset
from jkbench.engine import environment, scoring
from jkbench.engine import images as image_sets
from jkbench.engine.setup import Where, make_ready, trained_networks
from jkbench.execute import Machine
from jkbench.execute.backends import processes
from jkbench.execute.session import cores
from jkbench.models.network import build
from jkbench.planning import Trial
from jkbench.plugins.discovery import discover
from jkbench.tasks import task as tasks

HERE = Path(__file__).parent


def made(work: tasks.Task, method: str, seeds: int) -> list[Trial]:
    """The trials of a method."""
    return plan.make(work, discover([HERE / "plugins"]), method, seeds=range(seeds)).trials


def of_peers(work: tasks.Task, method: str, epochs: int) -> float:
    """Seconds of a trial of the peers' loop."""
    one = made(work, method, 1)[0]
    data = image_sets.of_task(work, one.datasets).target
    train, test = data.splits["train"], data.splits["test"]
    chosen = train.take(subset(train.labels, 10, 0))
    teacher, student = build("vgg-9", 3, 32, 100, 0), build("vgg-4", 3, 32, 100, 0)
    trial(method, student, teacher, chosen.take(subset(chosen.labels, 1, 0)), test.take(subset(test.labels, 1, 0)), 1)
    return trial(method, student, teacher, chosen, test, epochs)


def of_jkbench(work: tasks.Task, method: str, folder: Path, jobs: int) -> tuple[float, float]:
    """Seconds of a trial at ``jobs`` trials at a time, and of the workers' start."""
    few, many = jobs, 3 * jobs
    walls = []
    for count in (few, many):
        began = time.perf_counter()
        setup = Machine(folder, folder / "cache", "cpu", jobs, 1)
        records = list(processes.run(made(work, method, count), setup))
        assert all(record.status == "ok" for record in records), records[0].message
        walls.append(time.perf_counter() - began)
    slope = (walls[1] - walls[0]) / (many - few)
    return slope, walls[0] - few * slope


def overhead(work: tasks.Task, method: str, folder: Path) -> tuple[float, float, float]:
    """Seconds that a trial spends before its first step and after scoring, its milliseconds a step, its scoring."""
    one = made(work, method, 1)[0]
    where = Where(torch.device("cpu"), folder, folder / "cache")
    environment.prepare()
    before = time.perf_counter()
    data = image_sets.of_task(one.task, one.datasets)
    ready = make_ready(one, where.device, data, trained_networks(one, where, data), cache=where.cache)
    started = time.perf_counter()
    ready.method.fit(ready.loop)
    trained = time.perf_counter()
    scoring.score(ready.student, ready.scored, None, (), 1)
    assert ready.loop.program.cache is not None
    signals = ready.loop.program.cache.seconds
    return started - before + signals, ready.loop.trace.step_ms, time.perf_counter() - trained


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=6, help="of a trial (the paper's has 500)")
    parser.add_argument("--methods", default=",".join(RECIPES))
    chosen = parser.parse_args()
    work = tasks.load(str(HERE / "peer-work.toml"))
    work = of_length(work, chosen.epochs)
    jobs, threads = cores(), torch.get_num_threads()
    print(f"{jobs} cores, {environment.device_name(torch.device('cpu'))}, torch {torch.__version__}")
    print(f"a trial: {chosen.epochs} epochs of 1,000 images, then 500 test images\n")
    print("method       peers' loop   jkbench   trials a minute        ratio   start of workers")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for method in chosen.methods.split(","):
            torch.set_num_threads(threads)
            theirs = of_peers(work, method, chosen.epochs)
            torch.set_num_threads(1)
            ours, start = of_jkbench(work, method, folder, jobs)
            rates = f"{60 / theirs:5.2f} and {60 / ours:5.2f}"
            print(
                f"{method:<12} {theirs:8.1f} s {ours:8.1f} s   {rates:<20} {theirs / ours:6.2f}   {start:6.1f} s",
                flush=True,
            )
        print("\nwhat a trial spends beside its steps and its scoring, as a share of 8,000 steps (500 epochs)")
        for method in chosen.methods.split(","):
            beside, step_ms, scored = overhead(of_length(work, 1), method, folder)
            share = beside / (8 * step_ms)
            print(f"{method:<12} {beside:6.2f} s of {8 * step_ms:6.0f} s: {100 * share:.2f} %; scoring {scored:.2f} s")


def of_length(work: tasks.Task, epochs: int) -> tasks.Task:
    """The same work, shorter."""
    training = work.student.training.model_copy(update={"epochs": epochs})
    return work.model_copy(update={"student": work.student.model_copy(update={"training": training})})


if __name__ == "__main__":
    main()
