"""``jkbench merge``: copy the records of another leaderboard folder."""

from __future__ import annotations

from pathlib import Path

import click

from jkbench.cli import options


@click.command(epilog=options.examples("jkbench merge /media/cluster/leaderboard"))
@click.argument("folder_to_merge", metavar="DIR", type=click.Path(path_type=Path))
@options.leaderboard_folder
def merge(folder_to_merge: Path, folder: Path) -> int:
    """Copy the records of another leaderboard folder into this one.

    Its tasks and networks are copied too. Records of another teacher are refused: a table has one teacher.
    If both have a trial, the result here stays in the tables and the other is kept beside it. Exits with 1 if two
    results on one kind of machine contradict each other."""
    from jkbench.records.merge import merge as bring

    merged = bring(folder_to_merge, folder)
    for complaint in merged.complaints:
        click.echo(f"warning: {complaint}", err=True)
    for task, counts in merged.counts.items():
        told = f", {counts['better']} results that replace failures" if counts["better"] else ""
        told += f", {counts['newer']} newer records of known trials" if counts["newer"] else ""
        told += f", {counts['repeated']} further results of known trials" if counts["repeated"] else ""
        click.echo(f"{task}: {counts['new']} new records{told}, {counts['known']} known ones")
    if merged.networks:
        click.echo(f"networks: {', '.join(merged.networks)}")
    for contradiction in merged.contradictions:
        click.echo(f"contradiction: {contradiction}", err=True)
    return 1 if merged.contradictions else 0
