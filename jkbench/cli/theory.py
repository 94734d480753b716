"""``jkbench theory``: the paper's propositions and printed equations, checked, and measured on tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from jkbench.cli import options

out = click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("docs"), show_default=True,
    help="Where the page and its figure go.",
)  # fmt: skip


class _Group(click.Group):
    """Takes the earlier spellings too: no word is ``check``, ``--bound TASK`` is ``bound TASK``."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        for name in ("bound", "terms"):
            if f"--{name}" in args[:-1]:
                at = args.index(f"--{name}")
                args = [name, args[at + 1], *args[:at], *args[at + 2 :]]
                click.echo(f"now written: jkbench theory {' '.join(args)}", err=True)
        if not args or (args[0].startswith("-") and args[0] not in ("-h", "--help")):
            args = ["check", *args]
        return super().parse_args(context, args)


@click.group(
    cls=_Group,
    epilog=options.examples(
        "jkbench theory check --out docs",
        "jkbench theory bound digits-transfer --seeds 3",
        "jkbench theory terms digits-transfer --methods jacobian,lwf-jacobian",
    ),
)
def theory() -> None:
    """Check what the paper proves and prints, and measure it on tasks."""


@theory.command(epilog=options.examples("jkbench theory check --out docs"))
@out
@click.option("--quick", is_flag=True, help="Fewer draws and steps: seconds instead of a minute.")
def check(out: Path, quick: bool) -> int:
    """Check propositions and equations, and write theory.md.

    Propositions 1 and 2 and equations 2 and 3 by Monte Carlo, the transfer bound and its lemma, and the paper's
    Figure 1. Exits with 1 if a whole form or a bound does not hold."""
    import torch

    from jkbench.papers.theory.page import write

    torch.set_num_threads(1)
    written, checks, bounds = write(out, quick)
    for each in checks:
        told = f"printed {'agrees' if each.printed_agrees else 'does not agree'}"
        told += f", whole {'agrees' if each.whole_agrees else 'does not agree'}"
        click.echo(f"{each.statement}, {each.networks}: {each.measured:.4g} ± {each.error:.2g}; {told}")
    held = sum(bound.holds and bound.copies_tighten for bound in bounds)
    click.echo(f"transfer bound and lemma: {held} of {len(bounds)} hold")
    for path in written:
        click.echo(path)
    return 0 if all(each.whole_agrees for each in checks) and held == len(bounds) else 1


@theory.command(epilog=options.examples("jkbench theory bound digits-transfer --seeds 3"))
@click.argument("task_name", metavar="TASK")
@click.option(
    "--methods",
    default="lwf",
    show_default=True,
    metavar="NAME",
    help="Method whose students are measured (of several, the first).",
)
@options.shots
@options.seeds
@options.plugins
@options.leaderboard_folder
@click.option(
    "--source", metavar="DATASET",
    help="Data set to use with the target's if the teacher's training images are not available.",
)  # fmt: skip
@click.option(
    "--source-images", type=click.IntRange(min=1), default=2000, show_default=True, metavar="N",
    help="Largest number of source images.",
)  # fmt: skip
@options.device
@out
def bound(folder: Path, source: str | None, source_images: int, device: str, out: Path, **words: Any) -> int:
    """Measure the transfer bound (Proposition 3) on a task's images, teacher and students.

    Shows it next to the gain in the records, in bound-TASK.md and .png. Exits with 1 if the bound does not hold."""
    from jkbench.papers.theory import bound_task as application

    application.check_task(words["task_name"], folder)
    resources = options.make_resources(device=device)
    planned = options.make_plan(folder=folder, **words)
    found = application.measure(planned, folder, resources, source, source_images, out)
    for path in found.written:
        click.echo(path)
    for warning in found.warnings:
        click.echo(warning, err=True)
    return 0 if found.holds else 1


@theory.command(epilog=options.examples("jkbench theory terms digits-transfer --methods jacobian,lwf-jacobian"))
@click.argument("task_name", metavar="TASK")
@options.methods
@options.shots
@options.seeds
@options.plugins
@options.leaderboard_folder
@options.device
@out
def terms(folder: Path, device: str, out: Path, seeds: str | None, **words: Any) -> int:
    """Train rows again and record their loss terms.

    Writes how far each loss term falls, and how much of its gradient reaches the student's early layers, to
    terms-TASK.md and .png."""
    from jkbench.papers.theory import terms_task as application

    resources = options.make_resources(device=device)
    planned = options.make_plan(folder=folder, seeds=seeds or "1", **words)
    written, sentences = application.measure(planned, folder, resources, out)
    for line in (*written, *(sentence.replace("`", "") for sentence in sentences)):
        click.echo(line)
    return 0
