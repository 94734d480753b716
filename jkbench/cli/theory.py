"""``jkbench theory``: the paper's propositions and printed equations, checked."""

from __future__ import annotations

from pathlib import Path

import click

EPILOG = """\b
Example:
  jkbench theory --out docs
"""


@click.command(epilog=EPILOG)
@click.option(
    "--out", "folder", type=click.Path(file_okay=False, path_type=Path), default=Path("docs"), show_default=True,
    help="Where theory.md and theory.png go.",
)  # fmt: skip
@click.option("--quick", is_flag=True, help="Fewer draws and steps: seconds instead of a minute.")
def theory(folder: Path, quick: bool) -> int:
    """Check what the paper proves and prints, and write a page.

    Propositions 1 and 2 and equations 2 and 3 by Monte Carlo, the transfer bound and its lemma, and the paper's
    Figure 1. Ends with 1 where a whole form or a bound does not hold."""
    import torch

    from jkbench.theory.page import write

    torch.set_num_threads(1)
    written, checks, bounds = write(folder, quick)
    for check in checks:
        told = f"printed {'agrees' if check.printed_agrees else 'does not agree'}"
        told += f", whole {'agrees' if check.whole_agrees else 'does not agree'}"
        click.echo(f"{check.statement}, {check.networks}: {check.measured:.4g} ± {check.error:.2g}; {told}")
    held = sum(bound.holds and bound.copies_tighten for bound in bounds)
    click.echo(f"transfer bound and lemma: {held} of {len(bounds)} hold")
    for path in written:
        click.echo(path)
    return 0 if all(check.whole_agrees for check in checks) and held == len(bounds) else 1
