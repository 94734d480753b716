"""``jkbench new``: a plugin file that runs as it is, to be changed."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

import click

from jkbench.errors import UserError

EPILOG = """\b
Examples:
  jkbench new method my-method
  jkbench run --methods my-method --task digits-fewshot --smoke
"""


@click.group(epilog=EPILOG)
def new() -> None:
    """Write a plugin file that runs as it is."""


def write(family: str, name: str, folder: Path) -> Path:
    """The template of a family under a new name; `UserError` where the name is none or the file is there."""
    from jkbench.plugins.discovery import discover

    stem = name.lower().replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", stem) or keyword.iskeyword(stem):
        raise UserError(f"{name!r} cannot name a {family}", "letters, digits and hyphens, a letter first")
    path = folder / f"{stem}.py"
    taken = discover().plugins["method" if family == "method" else "dataset"].get(stem.replace("_", "-"))
    if path.exists() or taken:
        raise UserError(f"there is a {family} {stem.replace('_', '-')!r} already: {taken.path if taken else path}")
    template = Path(__file__).parent.parent / "plugins" / "templates" / f"{family}.py.txt"
    class_name = "".join(part.capitalize() for part in stem.split("_"))
    text = (
        template.read_text(encoding="utf-8").replace("CLASS_NAME", class_name).replace("PLUGIN", stem.replace("_", "-"))
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}", "give another folder with --into DIR") from None
    return path


@new.command(epilog="\b\nExample:\n  jkbench new method my-method")
@click.argument("name")
@click.option("--into", type=click.Path(path_type=Path), default=Path("methods"), show_default=True, metavar="DIR")
def method(name: str, into: Path) -> None:
    """Write methods/NAME.py: a commented method of one file."""
    path = write("method", name, into)
    plugin = path.stem.replace("_", "-")
    where = "" if into == Path("methods") else f" --plugins {into}"
    click.echo(f"wrote {path}\nnext: jkbench check {path}")
    click.echo(f"      jkbench run --methods {plugin} --task digits-fewshot{where}")


@new.command(epilog="\b\nExample:\n  jkbench new dataset my-images")
@click.argument("name")
@click.option("--into", type=click.Path(path_type=Path), default=Path("datasets"), show_default=True, metavar="DIR")
def dataset(name: str, into: Path) -> None:
    """Write datasets/NAME.py: a commented data set of one file."""
    path = write("dataset", name, into)
    plugin = path.stem.replace("_", "-")
    click.echo(f"wrote {path}\nnext: jkbench check {path}")
    click.echo(f'      name it in a task file: dataset = "{plugin}"')
