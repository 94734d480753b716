"""All that needs a GPU, in one command and under ten minutes: ``python benchmarks/gpu.py``.

Measures and checks, method by method: bits (a replayed training equals an eager one, and itself), waits of the host in
a steady step (torch's own debug mode), milliseconds of a step eager, replayed and with TF32, kernels a step, the share
of the ceilings measured on random numbers, and 1 to 8 trials at a time. From what it timed it extrapolates the minutes
of the grid of CIFAR-100. It resumes: what ``--out`` has of this device is not measured again, and no part is begun
after ``--minutes``.

    python benchmarks/gpu.py                          # on a machine with a GPU: docs/gpu.json and docs/gpu.md
    python benchmarks/gpu.py --device cpu --quick --out /tmp/gpu.json     # tries the script itself, without one
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before CUDA starts

import torch
from gpu_page import written

from jkbench import planning
from jkbench.engine import environment, profile
from jkbench.engine import images as image_sets
from jkbench.engine.loop import Loop
from jkbench.engine.program import Graphs, Tapes
from jkbench.engine.setup import Ready, Where, make_ready, trained_networks
from jkbench.engine.tape import Tape
from jkbench.plugins.discovery import discover
from jkbench.tasks import task as tasks

ROOT = Path(__file__).parent.parent
METHODS = (
    "scratch", "distill", "jacobian", "attention-jacobian", "noise", "attention", "jacobian-norm", "finetune", "lwf",
    "lwf-jacobian",
)  # fmt: skip
TASKS = {"digits": ROOT / "jkbench/tasks/digits-fewshot.toml", "cifar": ROOT / "benchmarks/peers/peer-work.toml"}
GRID = "cifar100-fewshot"
AT_ONCE = (1, 2, 4, 8)


class Bench:
    """The trials of one device, each with ``steps`` steps, and how they are timed."""

    def __init__(self, device: torch.device, steps: int, folder: Path) -> None:
        self.where = Where(device, folder, folder / "cache")
        self.steps = steps
        self.warm = steps // 3
        self.recorder = Graphs if device.type == "cuda" else Tapes
        self.index = discover([ROOT / "benchmarks/peers/plugins"], working=ROOT)

    def ready(self, task: str, method: str, seed: int = 0, precision: tasks.Precision = "float32") -> Ready:
        """A trial before its first step, at 10 images per class."""
        work = tasks.load(str(TASKS[task]))
        length = {"steps": self.steps, "epochs": None, "drop_at": 2 * self.steps // 3}
        training = work.student.training.model_copy(update=length)
        student = work.student.model_copy(update={"training": training})
        work = work.model_copy(update={"student": student, "precision": precision, "shots": (10,)})
        (trial,) = planning.make(work, self.index, method, seeds=[seed]).trials
        data = image_sets.of_task(work, trial.datasets)
        trained = trained_networks(trial, self.where, data)
        kind = partial(Loop, recorder=self.recorder)
        return make_ready(trial, self.where.device, data, trained, kind=kind, cache=self.where.cache)

    def sync(self) -> None:
        """Wait for the device."""
        if self.where.device.type == "cuda":
            torch.cuda.synchronize(self.where.device)

    def milliseconds(self, trainings: list[Iterator[object]]) -> float:
        """Of a step of one of the trainings, which take turns; after warm-up, in the steps that follow."""
        for step in range(self.steps):
            if step == self.warm:
                self.sync()
                began = time.perf_counter()
            for each in trainings:
                next(each)
        self.sync()
        return 1000 * (time.perf_counter() - began) / (self.steps - self.warm) / len(trainings)


def eagerly(ready: Ready) -> Iterator[None]:
    """A training whose steps are not recorded."""
    for batch, student, teacher in ready.loop:
        ready.loop.step(ready.method.loss(batch, student, teacher))
        yield


def replayed(ready: Ready) -> Iterator[None]:
    """A training by recorded steps."""
    yield from ready.loop.recorded(ready.method.loss)


def weights(ready: Ready) -> list[torch.Tensor]:
    """The student's, on the host."""
    return [value.detach().cpu() for value in ready.student.state_dict().values()]


def same(one: Ready, other: Ready) -> bool:
    """Whether both students have the same bits."""
    return all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


def speed_and_bits(bench: Bench, task: str, method: str) -> dict[str, Any]:
    """Milliseconds eager and replayed, kernels, the share of the ceiling, and whether the bits are the same."""
    eager, one, two = (bench.ready(task, method) for _ in range(3))
    found: dict[str, Any] = {
        "eager ms": bench.milliseconds([eagerly(eager)]),
        "replayed ms": bench.milliseconds([replayed(one)]),
    }
    bench.milliseconds([replayed(two)])
    found |= {"replayed equals eager": same(eager, one), "repeats": same(one, two)}
    found |= {"replays": one.loop.trace.replayed, "obstacle": str(one.loop.trace.obstacle or "")}
    with Tape(bench.where.device) as tape:
        two.loop.unbudgeted_step(two.method.loss)
    found["kernels"] = tape.kernels
    operations, moved = profile.count_kernels(eager.loop, eager.method)
    return found | {"operations": operations, "bytes": moved}


def tf32(bench: Bench, task: str, method: str) -> dict[str, Any]:
    """Milliseconds of a replayed step whose products take factors of 10 bits."""
    return {"tf32 ms": bench.milliseconds([replayed(bench.ready(task, method, precision="tf32"))])}


def waits(bench: Bench, task: str, method: str) -> dict[str, Any]:
    """What torch says of waits in a steady step: eager, and replayed. A loop's own reading of curves is no step."""
    made = bench.ready(task, method)
    for _ in range(3):
        made.loop.unbudgeted_step(made.method.loss)
    bench.sync()
    torch.cuda.set_sync_debug_mode("error")
    try:
        made.loop.unbudgeted_step(made.method.loss)
        return {"waits": "none"}
    except RuntimeError as error:
        return {"waits": str(error).splitlines()[0]}
    finally:
        torch.cuda.set_sync_debug_mode("default")


def at_once(bench: Bench, task: str, method: str) -> dict[str, Any]:
    """Milliseconds of a step of one of K trials on K streams, and whether the first has the bits it has alone."""
    found: dict[str, Any] = {}
    alone = bench.ready(task, method)
    bench.milliseconds([replayed(alone)])
    for count in AT_ONCE:
        many = [bench.ready(task, method, seed) for seed in range(count)]
        found[f"{count} at once ms"] = bench.milliseconds([replayed(each) for each in many])
        found[f"{count} at once equals alone"] = same(alone, many[0])
    return found


def limits(bench: Bench) -> dict[str, float]:
    """The device's ceilings, on random numbers."""
    found = profile.ceilings(bench.where.device)
    return {"operations/s": found.operations, "bytes/s": found.bytes}


def parts(quick: bool, gpu: bool) -> Iterator[tuple[str, Callable[[Bench], dict[str, Any]]]]:
    """What is measured, the most telling first, with the name that it is kept by."""
    yield "ceilings", limits
    for task in ["digits"] if quick else ["cifar", "digits"]:
        for method in METHODS[2:3] if quick else METHODS:
            yield f"{task}/{method}/speed", partial(speed_and_bits, task=task, method=method)
            if gpu:
                yield f"{task}/{method}/waits", partial(waits, task=task, method=method)
                yield f"{task}/{method}/tf32", partial(tf32, task=task, method=method)
        yield f"{task}/jacobian/streams", partial(at_once, task=task, method="jacobian")


def measure(bench: Bench, out: Path, quick: bool, minutes: float) -> dict[str, Any]:
    """Everything that is not yet kept in ``out``, as long as there is time."""
    where = f"{environment.device_name(bench.where.device)}, torch {torch.__version__}"
    kept: dict[str, Any] = json.loads(out.read_text()) if out.is_file() else {}
    if kept.get("where") != where:
        kept = {"where": where, "steps": bench.steps, "found": {}}
    began = time.monotonic()
    for name, part in parts(quick, bench.where.device.type == "cuda"):
        if name in kept["found"] or time.monotonic() - began > 60 * minutes:
            continue
        try:
            kept["found"][name] = part(bench)
        except Exception as error:  # the rest is still worth its time; a second run tries again
            print(f"{name}: {type(error).__name__}: {str(error).splitlines()[0]}", flush=True)
            continue
        print(f"{name}: {kept['found'][name]}", flush=True)
        out.write_text(json.dumps(kept, indent=1) + "\n")
    kept["grid"] = grid_minutes(kept["found"])
    out.write_text(json.dumps(kept, indent=1) + "\n")
    return kept


def grid_minutes(found: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Minutes of the CIFAR-100 task's steps at 10 per class with all its seeds, by the methods that were timed."""
    work = tasks.load(GRID)
    steps = work.student.training.length(1000) * work.seeds
    names = ("eager ms", "replayed ms", "tf32 ms")
    rows = [part for name, part in found.items() if name.startswith("cifar/")]
    return {name: sum(row[name] for row in rows if name in row) * steps / 60_000 for name in names}


def main() -> None:
    """Measure, and write the numbers and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--quick", action="store_true", help="one method on digits, 12 steps")
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/gpu.json", help="the page is written beside it")
    chosen = parser.parse_args()
    device = environment.device(chosen.device)
    environment.prepare(device)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(device, 12 if chosen.quick else 300 if device.type == "cuda" else 30, Path(folder))
        measure(bench, chosen.out, chosen.quick, chosen.minutes)
    written(chosen.out)


if __name__ == "__main__":
    main()
