"""``jkbench verify`` and ``jkbench rerun``: whether records are what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jkbench.cli import options

if TYPE_CHECKING:
    from jkbench.records.repeats import Repeat

tolerance = click.option(
    "--tolerance", type=click.FloatRange(0, 1), default=0.02, show_default=True, metavar="SHARE",
    help="How far a metric may differ on another kind of machine, as a share of its size (of 1 if that is larger).",
)  # fmt: skip


@click.command(
    epilog=options.examples(
        "jkbench verify",
        "jkbench verify --level rerun --sample 1 --task digits-fewshot",
        "jkbench verify --lacking ../main/leaderboard --json",
    )
)
@click.option(
    "--level", type=click.Choice(["schema", "rescore", "rerun"]), default="rescore", show_default=True,
    help="schema: names, hashes, bounds, relations. rescore: also recompute metrics from stored predictions and "
    "images. rerun: also train a sample again.",
)  # fmt: skip
@click.option("--task", "tasks", multiple=True, metavar="NAME", help="Only records of this task. Repeatable.")
@click.option(
    "--lacking", type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="DIR",
    help="Only records that this leaderboard folder lacks or has with other content.",
)  # fmt: skip
@click.option("--sample", type=click.IntRange(1), default=3, show_default=True, help="How many trials to train again.")
@click.option(
    "--longest", type=float, default=60.0, show_default=True, metavar="SECONDS",
    help="Train again only trials that took at most this long.",
)  # fmt: skip
@tolerance
@options.checking
def verify(
    plugins: tuple[Path, ...], folder: Path, device: str, threads: int, executor: str, in_process: bool, as_json: bool,
    **wanted: Any,
) -> int:  # fmt: skip
    """Verify the records of a leaderboard folder.

    Writes nothing. Lists and skips missing data sets. Exits with 1 if a record cannot be right."""
    from jkbench.execute import verify as application
    from jkbench.plugins.discovery import discover
    from jkbench.report.wording import plural

    resources = options.make_resources(device, "1", threads, None, executor, in_process)
    wanted["tasks"] = wanted["tasks"] or None
    found = application.verify(folder, discover(plugins), application.Wanted(**wanted), resources, not as_json)
    if as_json:
        faults = [vars(fault) for fault in found.faults]
        told = {"counts": found.counts, "faults": faults, "skipped": found.skipped}
        click.echo(json.dumps(told | {"repeats": [_as_json(each) for each in found.repeats]}, indent=2))
        return 1 if faults else 0
    for each in found.repeats:
        _show(each)
    for skipped in found.skipped:
        click.echo(f"skipped: {skipped}")
    for fault in found.faults:
        click.echo(f"{click.style('wrong', fg='red', bold=True)}: {fault}")
    for what, count in found.counts.items():
        click.echo(f"{plural(count, 'record')} {what}")
    click.echo(plural(len(found.faults), "fault") if found.faults else "nothing is wrong")
    return 1 if found.faults else 0


@click.command(epilog=options.examples("jkbench rerun 628be72b17a31a3d"))
@click.argument("trial", metavar="ID")
@tolerance
@options.checking
def rerun(
    trial: str, tolerance: float, plugins: tuple[Path, ...], folder: Path, device: str, threads: int, executor: str,
    in_process: bool, as_json: bool,
) -> int:  # fmt: skip
    """Train one recorded trial again, and compare.

    ID is a record's id or its beginning. Nothing is stored. Exits with 1 if a metric differs: at all on the same kind
    of machine, by more than the tolerance on another."""
    from jkbench.execute import verify as application
    from jkbench.plugins.discovery import discover

    resources = options.make_resources(device, "1", threads, None, executor, in_process)
    record, known = application.of_id(folder, discover(plugins), trial)
    found = application.repeated(folder, record, known, resources, tolerance, not as_json)
    if as_json:
        click.echo(json.dumps(_as_json(found), indent=2))
    else:
        _show(found)
        for fault in found.faults:
            click.echo(f"{click.style('wrong', fg='red', bold=True)}: {fault}")
    return 1 if any(found.faults) else 0


def _as_json(found: Repeat) -> dict[str, Any]:
    parts = {"recorded": found.first, "again": found.second}
    return {
        "trial": found.first.id,
        "machines": found.machines,
        "faults": list(found.faults),
        **{name: {"status": record.status, "metrics": record.metrics} for name, record in parts.items()},
    }


def _show(found: Repeat) -> None:
    from jkbench.tasks.shots import per_class

    first = found.first
    click.echo(f"{first.task}: {first.label}, {per_class(first.shots)}, seed {first.seed} ({first.id})")
    click.echo(f"  {' | '.join(found.machines)}")
    for name, value in first.metrics.items():
        again = found.second.metrics.get(name)
        same = "the same" if again == value else f"differs by {abs((again or 0.0) - value):.3g}"
        click.echo(f"  {name:<18} {value:<22.10g} {again if again is None else format(again, '<22.10g')} {same}")
