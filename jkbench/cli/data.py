"""``jkbench data``: which data sets are at hand, and bringing the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from jkbench.cli import options
from jkbench.errors import UserError

EPILOG = """\b
Examples:
  jkbench data list
  jkbench data prepare cifar100
  jkbench data import cifar100 FILE.npz
"""


@click.group(epilog=EPILOG)
def data() -> None:
    """List, prepare and import data sets.

    Prepared images are kept under JKBENCH_DATA, by default in the user's cache."""


@data.command("list", epilog="\b\nExample:\n  jkbench data list --json\n")
@options.plugins
@options.as_json
def list_(plugins: tuple[Path, ...], as_json: bool) -> None:
    """Say of every data set whether its images are at hand."""
    from jkbench import places
    from jkbench.data import prepared
    from jkbench.plugins.discovery import discover

    found: list[dict[str, Any]] = []
    for source in discover(plugins).datasets().values():
        fetched = bool(source.facts.get("content") or source.facts.get("fetched"))
        at = prepared.path(source.name)
        there = not fetched or prepared.is_prepared(source.name)
        found.append(
            {
                "name": source.name,
                "fetched": fetched,
                "at_hand": there,
                "folder": str(at) if fetched and there else None,
            }
        )
    if as_json:
        click.echo(json.dumps({"folder": str(places.data()), "datasets": found}, indent=2))
        return
    width = max((len(entry["name"]) for entry in found), default=0)
    for entry in found:
        told = entry["folder"] or ("needs no fetching" if entry["at_hand"] else f"jkbench data prepare {entry['name']}")
        click.echo(f"{entry['name']:<{width}}  {'at hand' if entry['at_hand'] else 'missing'}  {told}")


@data.command(epilog="\b\nExample:\n  jkbench data prepare cifar100\n")
@click.argument("name")
@options.plugins
def prepare(name: str, plugins: tuple[Path, ...]) -> None:
    """Fetch a data set, check it, and keep its images in one folder."""
    source, dataset = _dataset(name, plugins)
    splits = dataset.load()
    counts = ", ".join(f"{len(split)} {part}" for part, split in splits.items())
    click.echo(f"{source.name}: {counts} images")


@data.command("import", epilog="\b\nExample:\n  jkbench data import cifar100 FILE.npz\n")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
@options.plugins
def import_(name: str, file: Path, plugins: tuple[Path, ...]) -> None:
    """Take images that are already at hand, from an .npz, for machines without network.

    FILE holds train_images, test_images (uint8 N×H×W×C), train_labels, test_labels (in the order of the class names),
    and classes if you like. The images' order does not matter; other images than the published ones are refused."""
    from jkbench.data import prepared

    source, dataset = _dataset(name, plugins)
    if not (dataset.content or dataset.fetched):
        raise UserError(f"{name} is not fetched: its plugin {source.path} brings its own images")
    splits = prepared.read(source.name, file, dataset.classes)
    kept = prepared.path(source.name)
    if not prepared.is_prepared(source.name):
        prepared.keep(source.name, dataset.classes, dataset.content, splits)
    elif prepared.content_of(prepared.kept(source.name, dataset.classes, "")) != prepared.content_of(splits):
        raise UserError(f"{kept} holds other images of {name}", "delete it, then import these")
    click.echo(f"{source.name}: {len(splits['train'])} training and {len(splits['test'])} test images, in {kept}")


def _dataset(name: str, plugins: tuple[Path, ...]) -> tuple[Any, Any]:
    from jkbench.plugins.discovery import discover
    from jkbench.plugins.loading import load

    source = discover(plugins).find("dataset", name)
    if source.broken:
        raise UserError(f"data set {name!r} is broken: {source.broken}")
    return source, load(source)()
