"""``jkbench plan``: what would run, what is there, what does not apply and why, and how long it would take."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jkbench.cli import options

if TYPE_CHECKING:
    from jkbench.execute.forecast import Forecast


@click.command(
    epilog=options.examples(
        "jkbench plan --methods all --task digits-fewshot --seeds 20", "jkbench plan --task cifar100-fewshot --measure"
    )
)
@options.planning
@options.device
@options.threads
@click.option("--measure", is_flag=True, help="Time a few steps of each row that has no recorded timings.")
@options.as_json
def plan(folder: Path, as_json: bool, measure: bool, device: str, threads: int, **words: Any) -> None:
    """Show what `run` would do, and refuse what it would refuse.

    Lists what is done, what is missing, what does not apply and why, and how long it takes. Trains nothing."""
    from jkbench.execute import forecast
    from jkbench.execute import run as application
    from jkbench.records.standing import standing

    resources = options.make_resources(device, threads=threads)

    planned = options.make_plan(folder=folder, **words)
    made = planned.plan
    loaded = planned.store.outlines(made.task.name)
    at = standing(made, loaded, folder)
    unchecked = application.check(planned) if at.missing else ""
    expected = forecast.by_records(application.of_trials(made, at.missing), loaded.records, planned.store)
    if measure:
        expected = forecast.measured_here(expected, planned.store, resources.device, resources.threads)
    missing = {trial.id for trial in at.missing}
    rows: dict[str, dict[str, Any]] = {}
    for trial in made.trials:
        row = rows.setdefault(trial.row.label, {"method": trial.row.label, "trials": 0, "there": 0, "to_run": 0})
        row["trials"] += 1
        row["to_run" if trial.id in missing else "there"] += 1
        if trial.row.plugin.broken:
            row["broken"] = trial.row.plugin.broken
    answer = {
        "task": made.task.name,
        "trials": len(made.trials),
        "there": at.done,
        "to_run": len(missing),
        "rows": list(rows.values()),
        "not_applicable": made.not_applicable,
        "unreadable": loaded.complaints(),
        "not_checked": unchecked,
        "estimated_seconds_one_job": expected.seconds if missing else None,
        "estimated_from_records": expected.of_records,
        "estimated_from_steps": expected.of_steps,
        "networks_to_train": {recipe.role: expected.networks.get(recipe.role) for recipe in expected.recipes},
    }
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    click.echo(f"{made.task.name}: {answer['trials']} trials, {at.done} done, {len(missing)} to run")
    width = max((len(label) for label in rows), default=0)
    for row in rows.values():
        note = f"  broken here: {row['broken']}" if "broken" in row else ""
        click.echo(f"  {row['method']:<{width}}  {row['there']:>4} done  {row['to_run']:>4} to run{note}")
    for name, reason in made.not_applicable.items():
        click.echo(f"  {name:<{width}}  does not apply: {reason}")
    for warning in filter(None, (*loaded.complaints(), unchecked)):
        click.echo(f"  warning: {warning}")
    if missing:
        less = forecast.instead(made, planned.index, planned.store, expected.seconds or 0.0)
        click.echo("\n".join(_time(expected, less, measure)))


def _time(expected: Forecast, less: str, measured: bool) -> Iterator[str]:
    """What is trained first, and how long all takes."""
    from jkbench.execute.forecast import MEASURE
    from jkbench.records.timings import duration

    for recipe in expected.recipes:
        seconds = expected.networks.get(recipe.role)
        took = "" if seconds is None else f", in about {duration(seconds)}"
        how = "fetches it" if recipe.training is None else f"trains it first ({recipe.training.duration}){took}"
        yield f"{recipe.role} {recipe.architecture} is not here: `jkbench run` {how}"
    sources = {"from records": expected.of_records, "from timed steps": expected.of_steps}
    sources["assumed average"] = len(expected.unknown)
    told = ", ".join(f"{count} {how}" for how, count in sources.items() if count)
    timeless = expected.unknown or any(recipe.training for recipe in expected.recipes)
    hint = f"; {MEASURE}" if timeless and not measured else ""
    if expected.seconds is None:
        yield f"time: no records to estimate from{hint or '; no step could be timed'}"
    else:
        yield f"time: about {duration(expected.seconds)} with one job here{less} (trials: {told}{hint})"
