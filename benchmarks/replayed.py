"""Whether replaying a recorded step pays on a CPU: ``python benchmarks/replayed.py``.

Two trainings of each method on digits take turns, one eager, one by replays of a tape (a CUDA graph's twin), so that
what else the machine does falls on both. Printed: milliseconds of this thread's own time, medians after warm-up, their
ratio, and how many kernels a step calls.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import torch
from gpu import Bench, eagerly, replayed

from jkbench.engine import environment
from jkbench.engine.tape import Tape

STEPS, WARM = 150, 30


def main() -> None:
    """Measure and print a table."""
    environment.prepare()
    torch.set_num_threads(1)
    print(f"{environment.processor()}, torch {torch.__version__}, one thread\n")
    print("method                eager   replayed   eager / replayed   kernels")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(torch.device("cpu"), STEPS, Path(folder))
        for method in ("distill", "jacobian", "attention-jacobian"):
            pair = [bench.ready("digits", method) for _ in range(2)]
            trainings = [eagerly(pair[0]), replayed(pair[1])]
            taken: list[list[float]] = [[], []]
            for _ in range(STEPS):
                for times, training in zip(taken, trainings, strict=True):
                    began = time.thread_time()
                    next(training)
                    times.append(1000 * (time.thread_time() - began))
            eager, again = (statistics.median(times[WARM:]) for times in taken)
            with Tape(bench.where.device) as tape:
                pair[0].loop.unbudgeted_step(pair[0].method.loss)
            print(
                f"{method:<19} {eager:5.2f} ms   {again:5.2f} ms   {eager / again:12.2f}   {tape.kernels:10}",
                flush=True,
            )


if __name__ == "__main__":
    main()
