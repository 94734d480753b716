"""``jkbench merge``: copy the records of another leaderboard folder."""

from __future__ import annotations

from pathlib import Path

import click

from jkbench.cli import options


@click.command(epilog=options.examples("jkbench merge /media/cluster/leaderboard"))
@click.argument("folder_to_merge", metavar="DIR", type=click.Path(path_type=Path))
@options.leaderboard_folder
def merge(folder_to_merge: Path, folder: Path) -> None:
    """Copy the records of another leaderboard folder into this one.

    Its tasks and networks are copied too. Records of another teacher are refused: a table has one teacher."""
    from jkbench.records.merge import merge as bring

    merged = bring(folder_to_merge, folder)
    for complaint in merged.complaints:
        click.echo(f"warning: {complaint}", err=True)
    for task, counts in merged.counts.items():
        told = f", {counts['better']} results that replace failures" if counts["better"] else ""
        told += f", {counts['newer']} newer records of known trials" if counts["newer"] else ""
        click.echo(f"{task}: {counts['new']} new records{told}, {counts['known']} known ones")
    if merged.networks:
        click.echo(f"networks: {', '.join(merged.networks)}")
