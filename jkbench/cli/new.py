"""``jkbench new``: a plugin file that runs as it is, to be changed."""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jkbench.cli import options
from jkbench.errors import UserError
from jkbench.files import write_atomically

if TYPE_CHECKING:
    from jkbench.plugins.describe import PluginType

EXAMPLES = options.examples("jkbench new method my-method", "jkbench new dataset my-images --into my-plugins")


@click.command(epilog=EXAMPLES)
@click.argument("family", type=click.Choice(["method", "dataset"]))
@click.argument("name")
@click.option("--into", type=click.Path(path_type=Path), metavar="DIR", help="By default methods or datasets.")
def new(family: PluginType, name: str, into: Path | None) -> None:
    """Write a plugin file that runs as it is: a commented method or data set."""
    path = write(family, name, into or Path(f"{family}s"))
    plugin = path.stem.replace("_", "-")
    where = "" if into is None else f" --plugins {into}"
    click.echo(f"wrote {path}\nnext: jkbench check {path}")
    if family == "method":
        click.echo(f"      jkbench run --methods {plugin} --task digits-fewshot{where}")
    else:
        click.echo(f'      name it in a task file: dataset = "{plugin}"')


def write(family: PluginType, name: str, folder: Path) -> Path:
    """The template of a family under a new name. `UserError` for a name that cannot be used, or is taken."""
    from jkbench.plugins.discovery import discover

    stem = name.lower().replace("-", "_")
    plugin = stem.replace("_", "-")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", stem) or keyword.iskeyword(stem):
        raise UserError(f"{name!r} cannot name a {family}", "letters, digits and hyphens, a letter first")
    path = folder / f"{stem}.py"
    taken = discover().plugins[family].get(plugin)
    if path.exists() or taken:
        raise UserError(f"there is already a {family} {plugin!r}: {taken.path if taken else path}")
    template = Path(__file__).parent.parent / "plugins" / "templates" / f"{family}.py.txt"
    class_name = "".join(part.capitalize() for part in stem.split("_"))
    text = template.read_text(encoding="utf-8").replace("CLASS_NAME", class_name).replace("PLUGIN", plugin)
    write_atomically(path, text, "give another folder with --into DIR")
    return path
