"""``jkbench theory``: the paper's propositions and printed equations, checked."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from jkbench.cli import options

EPILOG = """\b
Examples:
  jkbench theory --out docs
  jkbench theory --bound digits-transfer --seeds 3
  jkbench theory --terms digits-transfer --methods jacobian,lwf-jacobian
"""

_OF_BOUND = ("methods", "shots", "seeds", "plugins", "folder", "source", "source_images", "device")


@click.command(epilog=EPILOG)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("docs"), show_default=True,
    help="Where the page and its figure go.",
)  # fmt: skip
@click.option("--quick", is_flag=True, help="Fewer draws and steps: seconds instead of a minute.")
@click.option(
    "--bound", "task_name", metavar="TASK", help="Measure the transfer bound on a task instead: bound-TASK.md and .png."
)
@click.option(
    "--terms", "of_terms", metavar="TASK",
    help="Train rows of a task again and read their loss terms on the way instead: terms-TASK.md and .png.",
)  # fmt: skip
@click.option(
    "--methods", default="lwf", show_default=True, metavar="NAMES",
    help="With --bound: whose students, of several the first. With --terms: which rows.",
)  # fmt: skip
@options.shots
@options.seeds
@options.plugins
@options.leaderboard_folder
@click.option(
    "--source", metavar="DATASET",
    help="With --bound, where the teacher's images are not at hand: a set that stands for them beside the target's.",
)  # fmt: skip
@click.option(
    "--source-images", type=click.IntRange(min=1), default=2000, show_default=True, metavar="N",
    help="With --bound: so many images of the source at most.",
)  # fmt: skip
@click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="auto|cpu|cuda",
    help="With --bound or --terms: where to train.",
)
@click.pass_context
def theory(
    context: click.Context,
    out: Path,
    quick: bool,
    task_name: str | None,
    of_terms: str | None,
    methods: str,
    shots: str | None,
    seeds: str | None,
    plugins: tuple[Path, ...],
    folder: Path,
    source: str | None,
    source_images: int,
    device: str,
) -> int:
    """Check what the paper proves and prints, and write a page.

    Propositions 1 and 2 and equations 2 and 3 by Monte Carlo, the transfer bound and its lemma, and the paper's
    Figure 1. Ends with 1 where a whole form or a bound does not hold.

    With --bound, the transfer bound (Proposition 3) on a task of the suite: its images, its teacher and its students,
    beside the gain that records have. With --terms, how far each loss term falls and how much of its gradient
    reaches the student's early layers."""
    if task_name is not None and of_terms is not None:
        raise click.UsageError("--bound and --terms are two pages: ask for one")
    if of_terms is not None:
        for name in ("source", "source_images"):
            if context.get_parameter_source(name) == ParameterSource.COMMANDLINE:
                raise click.UsageError(f"--{name.replace('_', '-')} belongs to --bound TASK")
        if quick:
            raise click.UsageError("--quick does not go with --terms: fewer --seeds are quicker")
        from jkbench.cli.terms import measure as measure_terms

        return measure_terms(of_terms, methods, shots, seeds, plugins, folder, device, out)
    if task_name is not None:
        if quick:
            raise click.UsageError("--quick does not go with --bound: fewer --shots and --seeds are quicker")
        from jkbench.cli.bound import measure

        return measure(task_name, methods, shots, seeds, plugins, folder, source, source_images, device, out)
    for name in _OF_BOUND:
        if context.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            option = "--leaderboard" if name == "folder" else f"--{name.replace('_', '-')}"
            raise click.UsageError(f"{option} belongs to --bound TASK or --terms TASK")
    import torch

    from jkbench.papers.theory.page import write

    torch.set_num_threads(1)
    written, checks, bounds = write(out, quick)
    for check in checks:
        told = f"printed {'agrees' if check.printed_agrees else 'does not agree'}"
        told += f", whole {'agrees' if check.whole_agrees else 'does not agree'}"
        click.echo(f"{check.statement}, {check.networks}: {check.measured:.4g} ± {check.error:.2g}; {told}")
    held = sum(bound.holds and bound.copies_tighten for bound in bounds)
    click.echo(f"transfer bound and lemma: {held} of {len(bounds)} hold")
    for path in written:
        click.echo(path)
    return 0 if all(check.whole_agrees for check in checks) and held == len(bounds) else 1
