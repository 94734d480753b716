"""What counting and showing many records takes: ``python benchmarks/records.py [--sizes 1000,10000,100000]`` (Linux).

The committed records are copied in a temporary folder under new seeds, each with the id that its trial would have;
printed are seconds, those of the processor, and peak memory (MB) of ``leaderboard``, ``status`` and ``plan``, each a
new process. ``--checkout DIR`` (repeatable) measures other versions of the suite on the same files, in turn with
this one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from jkbench import planning as plan
from jkbench.plugins.discovery import discover
from jkbench.tasks import task as tasks

HOME = Path(__file__).parent.parent
SEEDS = 1000
"""Copies of a record are so many seeds apart."""


def generate(folder: Path, size: int) -> int:
    """Copy the committed lines until there are about ``size`` of them; how many there are."""
    files = sorted((HOME / "leaderboard/records").glob("*/*.jsonl"))
    lines = {file: file.read_text(encoding="utf-8").splitlines() for file in files}
    copies = -(-size // sum(map(len, lines.values())))
    index, written = discover(), 0
    for file, texts in lines.items():
        task = tasks.load(file.parent.name)
        datasets = {name: index.datasets()[name] for name in {task.target.dataset, task.teacher_images.dataset}}
        method, trial_id = index.methods()[file.stem], plan.trial_ids(task, datasets)
        records = []
        for text in texts[: max(1, round(len(texts) * size / (copies * sum(map(len, lines.values())))))]:
            found = json.loads(text)
            for copy in range(copies):
                seed = found["seed"] + SEEDS * copy
                named = trial_id(method, found["parameters"], found["shots"], seed, found["split"])
                records.append(found | {"seed": seed, "id": named})
        records.sort(key=lambda r: (r["split"], r["label"], float(str(r["shots"]).replace("full", "inf")), r["seed"]))
        target = folder / "records" / task.name / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("w", encoding="utf-8") as stream:
            for record in records:
                stream.write(json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n")
        written += len(records)
    return written


def measure(checkout: Path, words: list[str]) -> tuple[float, float, float]:
    """Seconds, seconds of the processor and peak memory (MB) of one command of one checkout."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "jkbench", *words]
    process = subprocess.Popen(
        command, env=os.environ | {"PYTHONPATH": str(checkout)}, cwd=checkout, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} ended with status {status}")
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    """Print one line a command, size and checkout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="1000,10000,100000")
    parser.add_argument("--checkout", type=Path, action="append", default=[])
    given = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for size in map(int, given.sizes.split(",")):
        with tempfile.TemporaryDirectory() as name:
            count = generate(Path(name), size)
            shutil.copytree(HOME / "leaderboard/teachers", Path(name) / "teachers")
            for command in (["leaderboard"], ["status", "--json"], ["plan", "--task", "digits-fewshot"]):
                for checkout in (HOME, *given.checkout):
                    seconds, busy, peak = measure(checkout, [*command, "--leaderboard", name])
                    what = f"{count:>7} records  {command[0]:<12}"
                    print(f"{what} {seconds:6.1f} s {busy:6.1f} s {peak:6.0f} MB  {checkout}", flush=True)


if __name__ == "__main__":
    main()
