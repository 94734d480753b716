"""``jkbench remove``: take records out of a leaderboard folder."""

from __future__ import annotations

from pathlib import Path

import click

from jkbench.cli import options
from jkbench.errors import UserError


@click.command(
    epilog=options.examples(
        "jkbench remove my-method --task digits-fewshot",
        "jkbench remove 'jacobian[jac=0.5]'",
        "jkbench remove 3f2a9c0d11e84b57 --yes",
    )
)
@click.argument("what", metavar="METHOD|TRIAL")
@options.task(required=False)
@options.leaderboard_folder
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(what: str, task_name: str | None, folder: Path, yes: bool) -> None:
    """Remove the records of a method, of one row of it, or of one trial (by its id).

    Asks first. `jkbench leaderboard` then updates the pages."""
    from jkbench.records.store import Store

    store = Store(folder)
    found = {
        name: ids
        for name in ([Path(task_name).stem] if task_name else store.tasks())
        if (ids := {r.id for r in store.read(name).records.values() if what in (r.id, r.method, r.label)})
    }
    if not found:
        raise UserError(
            f"there are no records of {what!r} in {folder}", "jkbench status lists the tasks that have records"
        )
    for name, ids in found.items():
        click.echo(f"{name}: {len(ids)} records of {what}")
    if not yes and not click.confirm("remove them?"):
        click.echo("nothing was removed")
        return
    for name, ids in found.items():
        store.remove(name, ids)
    click.echo(f"removed {sum(map(len, found.values()))} records")
