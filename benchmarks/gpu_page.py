"""Writes docs/gpu.md from docs/gpu.json: ``python benchmarks/gpu_page.py``. Without that file the page says so."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from jkbench.report.document import Block, Document, Section, Table, rich, table
from jkbench.report.render import markdown

JSON = Path(__file__).parent.parent / "docs/gpu.json"
COLUMNS = ("eager ms", "replayed ms", "tf32 ms", "kernels", "of ceiling", "waits", "bits")

NOTHING = """Nothing has been measured on a GPU yet. On a machine with one, `python benchmarks/gpu.py` takes less than
ten minutes, checks what cannot be checked without one, and fills this page. What is proved without a GPU is in
[performance](performance.md)."""
READ = """Measured by `python benchmarks/gpu.py`. *replayed*: a step as a CUDA graph; *tf32*: the same with factors of
10 bits; *kernels*: calls of torch's kernels in a step; *of ceiling*: the floor of the step (operations over the
device's product, bytes over its copy, both on random numbers) over its replayed time; *waits*: what torch's debug mode
says of an eager step; *bits*: whether a replayed training has the bits of an eager one, and of itself."""


def page(kept: dict[str, Any] | None) -> Document:
    """The page of what was measured; None of nothing."""
    blocks: tuple[Block, ...] = (rich(NOTHING),)
    if kept is not None:
        found = kept["found"]
        names = sorted({name.split("/")[0] for name in found if "/" in name})
        grid = ", ".join(f"{minutes:.0f} by {name.removesuffix(' ms')} steps" for name, minutes in kept["grid"].items())
        blocks = (
            f"{kept['where']}; {kept['steps']} steps a training.",
            rich(READ),
            *(Section(name, (speeds(name, found), streams(name, found))) for name in names),
            Section(
                "The grid of CIFAR-100", (f"All its methods at 10 per class, 5 seeds, 500 epochs, minutes: {grid}.",)
            ),
        )
    return Document("gpu", "On a GPU", "benchmarks/gpu_page.py", blocks)


def speeds(task: str, found: dict[str, Any]) -> Table:
    """A row for each method."""
    limits = found["ceilings"]
    rows = []
    for name, part in found.items():
        if name.startswith(f"{task}/") and name.endswith("/speed"):
            method = name.split("/")[1]
            more = part | found.get(f"{task}/{method}/tf32", {}) | found.get(f"{task}/{method}/waits", {})
            floor = 1000 * max(part["operations"] / limits["operations/s"], part["bytes"] / limits["bytes/s"])
            bits = "same" if part["replayed equals eager"] and part["repeats"] else "differ"
            told = {**more, "of ceiling": f"{100 * floor / part['replayed ms']:.0f} %", "bits": bits}
            if part["obstacle"]:
                told["bits"] = part["obstacle"]
            rows.append([f"`{method}`", *(_cell(told.get(column, "–")) for column in COLUMNS)])
    return table(["method", *COLUMNS], rows)


def streams(task: str, found: dict[str, Any]) -> Table:
    """Trials at a time."""
    part = found.get(f"{task}/jacobian/streams", {})
    counts = [name.split()[0] for name in part if name.endswith("once ms")]
    rows = [
        [count, f"{part[f'{count} at once ms']:.3f}", "same" if part[f"{count} at once equals alone"] else "differ"]
        for count in counts
    ]
    return table(["trials at once", "ms a step of a trial", "bits of the first"], rows)


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def written(out: Path) -> None:
    """Write the page beside its numbers."""
    kept = json.loads(out.read_text()) if out.is_file() else None
    out.with_suffix(".md").write_text(markdown.render(page(kept)), encoding="utf-8")


if __name__ == "__main__":
    written(Path(sys.argv[1]) if sys.argv[1:] else JSON)
