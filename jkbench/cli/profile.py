"""``jkbench profile``: what a step of each method costs, and how far it is from the machine's ceiling."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from jkbench.cli import options
from jkbench.tasks.shots import per_class


@click.command(
    epilog=options.examples("jkbench profile --task digits-fewshot --methods scratch,distill,jacobian --shots 5")
)
@options.task()
@options.methods
@options.shots
@options.settings
@options.budget
@options.plugins
@options.leaderboard_folder
@options.device
@options.threads
@options.as_json
@click.option("--keep", is_flag=True, help="Keep the costs of every regime: equal time (--budget time) reads them.")
def profile(folder: Path, device: str, threads: int, as_json: bool, keep: bool, **words: Any) -> None:
    """Measure one step of each method.

    Milliseconds, memory, operations, bytes, and the share of what the machine can do, at the task's first regime
    by default. The methods take turns, after warm-up.
    """
    from jkbench.execute import Machine, backends, work
    from jkbench.execute.run import keep_costs

    resources = options.make_resources(device, threads=threads)
    planned = options.make_plan(folder=folder, seeds="1", **words)
    plan = planned.plan
    first = [trial for trial in plan.trials if trial.shots == plan.trials[0].shots]
    machine = Machine(folder.resolve(), device=device, threads=threads)
    with backends.start(threads=resources.threads) as workers:
        if keep:
            click.echo(f"costs kept in {keep_costs(planned, workers, machine)}")
            return
        limits, costs, name = workers.call(work.profile, first, machine)
    if as_json:
        click.echo(
            json.dumps({"ceilings": asdict(limits), "steps": [asdict(c) | {"share": c.share} for c in costs]}, indent=2)
        )
        return
    _show(plan.task.name, per_class(first[0].shots), name, threads, limits, costs)


def _show(task: str, shots: str, device: str, threads: int, limits: Any, costs: Any) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    plain = costs[0]
    title = f"{task}, {shots}, {device}, {threads} thread(s)"
    table = Table("method", box=box.SIMPLE_HEAD, title=title, title_justify="left")
    for cost in costs:
        cells = {
            "ms a step": f"{cost.milliseconds:.2f}",
            f"× {plain.label}": f"{cost.milliseconds / plain.milliseconds:.2f}",
            "images/s": f"{cost.images_per_second:,.0f}",
            "Mflop": f"{cost.operations / 1e6:.1f}",
            "MB moved": f"{cost.bytes / 1e6:.1f}",
            "step MiB": f"{cost.step_memory_mb:.0f}",
            "floor ms": f"{cost.floor_milliseconds:.3f}",
            "of ceiling": f"{100 * cost.share:.1f} %",
        }
        if cost is plain:
            for head in cells:
                table.add_column(head, justify="right")
        table.add_row(escape(cost.label), *cells.values())
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(table)
    console.print(
        f"Ceilings of this machine now: {limits.operations / 1e9:.1f} Gflop/s in a product or convolution, "
        f"{limits.bytes / 1e9:.1f} GB/s in a copy. Floor: the larger of operations and bytes over them.",
        highlight=False,
    )
