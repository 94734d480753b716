"""``jkbench tune``: the same number of configurations for every method, chosen on validation images."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import click

from jkbench.cli import options
from jkbench.errors import UserError


@click.command(
    epilog=options.examples(
        "jkbench tune --methods all --task digits-fewshot --shots 1,5 --budget 16",
        "jkbench run --methods all --task digits-fewshot --parameters tuned",
    )
)
@options.methods
@options.task()
@click.option("--budget", type=int, default=16, show_default=True, metavar="N", help="Configurations per method.")
@click.option(
    "--range", "ranges", multiple=True, metavar="NAME=LOW:HIGH",
    help="Search range of a parameter, in every method that has it. Repeatable.",
)  # fmt: skip
@options.shots
@click.option(
    "--seeds",
    default="3",
    show_default=True,
    metavar="N|LIST",
    help="How many seeds (3 means 100 to 102), or which: 100,103 or 100-109. No table may use them.",
)
@options.settings
@options.plugins
@options.leaderboard_folder
@options.beside
@click.option("--split", default="validation", hidden=True)
@options.resources
def tune(
    task_name: str, methods: str, budget: int, ranges: tuple[str, ...], shots: str | None, seeds: str,
    settings: tuple[str, ...], plugins: tuple[Path, ...], folder: Path, beside: tuple[Path, ...], split: str,
    **words: Any,
) -> int:  # fmt: skip
    """Tune all methods alike, on validation images.

    Every method gets the same number of configurations of all its parameters at once; the first is its default. Run
    the same command again to continue; methods added later join the others. `run --parameters tuned` reads what was
    chosen."""
    from jkbench.errors import Collector
    from jkbench.execute import tune as application
    from jkbench.execute.progress import plain_warnings
    from jkbench.records import choices
    from jkbench.tasks import changes

    plain_warnings()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's stop is a Ctrl-C
    first = application.SEEDS[0]
    with Collector() as problems:
        with problems.caught():
            numbers = options.parse_seeds(seeds)
            if seeds.strip().isdecimal():
                numbers = [first + each for each in numbers or ()]
        with problems.caught():
            resources = options.make_resources(**words)
        with problems.caught():
            regimes = options.parse_shots(shots)
            given, changed = dict(map(_range, ranges)), changes.parse(settings)
            tuning = application.make(
                task_name, methods, budget, given, regimes, numbers or (), split, plugins, folder, changed, beside
            )
    found = application.tune(tuning, resources)
    for line in choices.lines(found):
        click.echo(line)
    click.echo(f"choices: {choices.path_of(folder, found.task)}; next: jkbench run --parameters tuned")
    return 0


def _range(text: str) -> tuple[str, tuple[float, float]]:
    """``act=1e-4:1`` → ("act", (1e-4, 1))."""
    name, _, ends = text.partition("=")
    try:
        low, high = map(float, ends.split(":"))
    except ValueError:
        raise UserError(f"--range: {text!r} is not NAME=LOW:HIGH", "write for example act=1e-4:1") from None
    return name.strip(), (low, high)
