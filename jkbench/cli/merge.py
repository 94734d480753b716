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
    for task in sorted({*merged.new, *merged.better, *merged.newer, *merged.known}):
        new, known = merged.new.get(task, 0), merged.known.get(task, 0)
        better, newer = merged.better.get(task, 0), merged.newer.get(task, 0)
        told = f", {better} results that replace failures" if better else ""
        told += f", {newer} newer records of known trials" if newer else ""
        click.echo(f"{task}: {new} new records{told}, {known} known ones")
    if merged.networks:
        click.echo(f"networks: {', '.join(merged.networks)}")
