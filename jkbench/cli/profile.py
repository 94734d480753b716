"""``jkbench profile``: what a step of each method costs, and how far it is from the machine's ceiling."""

from __future__ import annotations

import json
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
@click.option("--keep", is_flag=True, help="Store the costs of every regime, for --budget time.")
def profile(folder: Path, device: str, threads: int, as_json: bool, keep: bool, **words: Any) -> None:
    """Measure one step of each method.

    Shows milliseconds, memory, operations, bytes, and the share of the machine's ceiling, by default at the task's
    first regime. The methods take turns, after warm-up.
    """
    from jkbench.execute import Machine, Needs, backends, work
    from jkbench.execute.run import keep_costs

    resources = options.make_resources(device, threads=threads)
    planned = options.make_plan(folder=folder, seeds="1", **words)
    plan = planned.plan
    first = [trial for trial in plan.trials if trial.shots == plan.trials[0].shots]
    machine = Machine(folder.resolve(), device=device, threads=threads)
    with backends.start(threads=resources.threads) as workers:
        if keep:
            click.echo(f"costs stored in {keep_costs(planned, workers, machine)}")
            return
        limits, costs, name = workers.call(work.profile, first, machine, needs=Needs.of(first))
    if as_json:
        click.echo(
            json.dumps({"ceilings": asdict(limits), "steps": [asdict(c) | {"share": c.share} for c in costs]}, indent=2)
        )
        return
    _show(plan.task.name, per_class(first[0].shots), name, threads, limits, costs)


def _show(task: str, shots: str, device: str, threads: int, limits: Any, costs: Any) -> None:
    from jkbench.report.document import table
    from jkbench.report.render.terminal import show

    plain = costs[0]
    heads = [
        "method", "ms a step", f"× {plain.label}", "images/s", "Mflop", "MB moved", "step MiB", "floor ms",
        "of ceiling", "inference µs",
    ]  # fmt: skip
    rows = [
        (
            cost.label, f"{cost.milliseconds:.2f}", f"{cost.milliseconds / plain.milliseconds:.2f}",
            f"{cost.images_per_second:,.0f}", f"{cost.operations / 1e6:.1f}", f"{cost.bytes / 1e6:.1f}",
            f"{cost.step_memory_mb:.0f}", f"{cost.floor_milliseconds:.3f}", f"{100 * cost.share:.1f} %",
            f"{cost.answer_microseconds:.1f}",
        )
        for cost in costs
    ]  # fmt: skip
    note = (
        f"Ceilings of this machine now: {limits.operations / 1e9:.1f} Gflop/s in a product or convolution, "
        f"{limits.bytes / 1e9:.1f} GB/s in a copy. Floor: the larger of operations and bytes divided by their ceiling. "
        "Inference: one image through the deployed network."
    )
    notes = [note, *(f"{cost.label} is not replayed: {cost.obstacle}." for cost in costs if cost.obstacle)]
    show([table(heads, rows, f"{task}, {shots}, {device}, {threads} thread(s)", notes)])
