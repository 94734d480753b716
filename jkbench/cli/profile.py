"""``jkbench profile``: what a step of each method costs, and how far it is from the machine's ceiling."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from jkbench.cli import options
from jkbench.errors import UserError
from jkbench.tasks.shots import per_class

EPILOG = """\b
Example:
  jkbench profile --task digits-fewshot --methods scratch,distill,jacobian --shots 5
"""


@click.command(epilog=EPILOG)
@options.task()
@options.methods
@options.shots
@options.plugins
@options.leaderboard_folder
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda", help="Where to measure.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, metavar="N", help="CPU threads.")
@options.as_json
def profile(
    task_name: str,
    methods: str,
    shots: str | None,
    plugins: tuple[Path, ...],
    folder: Path,
    device: str,
    threads: int,
    as_json: bool,
) -> None:
    """Measure one step of each method.

    Milliseconds, memory, operations, bytes, and the share of what the machine can do, at the task's first regime
    by default. The methods take turns, after warm-up.
    """
    plan = options.make_plan(task_name, methods, plugins, shots, "1", folder).plan
    broken = [str(row.plugin.broken) for row in plan.rows if row.plugin.broken]
    if broken:
        raise UserError("\n".join(broken), "name other methods, or fix the file")
    import torch

    from jkbench.engine import environment
    from jkbench.engine.profile import profile as measure
    from jkbench.engine.setup import Where

    torch.set_num_threads(threads)
    where = Where(environment.device(device), folder.resolve())
    first = [trial for trial in plan.trials if trial.shots == plan.trials[0].shots]
    limits, costs = measure(first, where)
    if as_json:
        click.echo(
            json.dumps({"ceilings": asdict(limits), "steps": [asdict(c) | {"share": c.share} for c in costs]}, indent=2)
        )
        return
    _show(plan.task.name, per_class(first[0].shots), environment.describe(where.device).device, threads, limits, costs)


def _show(task: str, shots: str, device: str, threads: int, limits: Any, costs: Any) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    plain = costs[0]
    table = Table(box=box.SIMPLE_HEAD, title=f"{task}, {shots}, {device}, {threads} thread(s)", title_justify="left")
    table.add_column("method")
    for head in (
        "ms a step",
        f"× {plain.label}",
        "images/s",
        "Mflop",
        "MB moved",
        "step MiB",
        "floor ms",
        "of ceiling",
    ):
        table.add_column(head, justify="right")
    for cost in costs:
        table.add_row(
            escape(cost.label),
            f"{cost.milliseconds:.2f}",
            f"{cost.milliseconds / plain.milliseconds:.2f}",
            f"{cost.images_per_second:,.0f}",
            f"{cost.operations / 1e6:.1f}",
            f"{cost.bytes / 1e6:.1f}",
            f"{cost.step_memory_mb:.0f}",
            f"{cost.floor_milliseconds:.3f}",
            f"{100 * cost.share:.1f} %",
        )
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(table)
    console.print(
        f"Ceilings of this machine now: {limits.operations / 1e9:.1f} Gflop/s in a product or convolution, "
        f"{limits.bytes / 1e9:.1f} GB/s in a copy. Floor: the larger of operations and bytes over them.",
        highlight=False,
    )
