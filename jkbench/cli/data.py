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
  jkbench data prepare flowers102 --size 96
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
    """Say of every data set whether its images are at hand, and at which sizes."""
    from jkbench.data import photographs, prepared
    from jkbench.files import data_folder
    from jkbench.plugins.discovery import discover

    found: list[dict[str, Any]] = []
    for source in discover(plugins).datasets().values():
        fetched = bool(source.facts.get("content") or source.facts.get("fetched"))
        kept = fetched and prepared.is_prepared(source.name)
        entry: dict[str, Any] = {
            "name": source.name,
            "fetched": fetched,
            "at_hand": kept or not fetched,
            "folder": str(prepared.path(source.name)) if kept else None,
        }
        if any(parameter.name == "size" for parameter in source.parameters):
            own, sizes = photographs.imported_size(source.name), photographs.sizes(source.name)
            entry |= {"at_hand": kept or not fetched or bool(sizes), "sizes": sizes, "imported_size": own}
        found.append(entry)
    if as_json:
        click.echo(json.dumps({"folder": str(data_folder()), "datasets": found}, indent=2))
        return
    width = max((len(entry["name"]) for entry in found), default=0)
    for entry in found:
        click.echo(f"{entry['name']:<{width}}  {'at hand' if entry['at_hand'] else 'missing'}  {_where(entry)}")


def _where(entry: dict[str, Any]) -> str:
    """In words, where a data set's images are, or what brings them."""
    name, own = entry["name"], entry.get("imported_size")
    if not entry["at_hand"]:
        return f"jkbench data prepare {name}" + (" --size N" if "sizes" in entry else "")
    if not entry["fetched"]:
        return "needs no fetching"
    if "sizes" not in entry:
        return str(entry["folder"])
    told = [f"imported at {own}×{own}, for this size and smaller ones: {entry['folder']}"] if own else []
    told += [f"at {', '.join(f'{size}×{size}' for size in entry['sizes'])}"] if entry["sizes"] else []
    return "; ".join(told)


@data.command(epilog="\b\nExamples:\n  jkbench data prepare cifar100\n  jkbench data prepare flowers102 --size 96\n")
@click.argument("name")
@click.option("--size", type=click.IntRange(min=8), metavar="N", help="Side in pixels, of photographs.")
@options.plugins
def prepare(name: str, size: int | None, plugins: tuple[Path, ...]) -> None:
    """Fetch a data set, check it, and keep its images in one folder.

    Photographs are resized and cropped once to the size that a task asks for: each size is kept by itself."""
    source, dataset = _dataset(name, plugins, size)
    click.echo(_counted(source.name, dataset.load()))


@data.command("import", epilog="\b\nExample:\n  jkbench data import cifar100 FILE.npz\n")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
@options.plugins
def import_(name: str, file: Path, plugins: tuple[Path, ...]) -> None:
    """Take images that are already at hand, from an .npz, for machines without network.

    FILE holds train_images, test_images (uint8 N×H×W×C), train_labels, test_labels (in the order of the class names),
    and classes if you like; validation_images and validation_labels, where the set has them. The images' order does not
    matter; other images than the published ones are refused. Of photographs, which everybody resizes in another way,
    any are taken, square and of one size: tasks that ask for a smaller one get them resized."""
    from jkbench.data import photographs, prepared

    source, dataset = _dataset(name, plugins)
    if not (dataset.content or dataset.fetched):
        raise UserError(f"{name} is not fetched: its plugin {source.path} brings its own images")
    splits = prepared.read(source.name, file, dataset.classes)
    kept = prepared.path(source.name)
    if _sized(dataset):
        photographs.check_origin(source.name, photographs.sizes(source.name), prepared.content_of(splits))
    if not prepared.is_prepared(source.name):
        prepared.keep(source.name, dataset.classes, dataset.content, splits)
        if _sized(dataset):
            _try_out(type(dataset)(size=splits["train"].shape[1]), kept)
    elif prepared.content_of(prepared.kept(source.name, dataset.classes, "")) != prepared.content_of(splits):
        raise UserError(f"{kept} holds other images of {name}", "delete it, then import these")
    click.echo(f"{source.name}: {len(splits['train'])} training and {len(splits['test'])} test images, in {kept}")


def _try_out(dataset: Any, kept: Path) -> None:
    """Load what was just imported into ``kept``, which goes again where the data set refuses it."""
    import shutil

    try:
        dataset.load()
    except UserError:
        shutil.rmtree(kept)
        raise


def _counted(name: str, splits: dict[str, Any]) -> str:
    counts = ", ".join(f"{len(split)} {part}" for part, split in splits.items())
    side = splits["train"].shape[1]
    return f"{name}: {counts} images of {side}×{side} pixels"


def _sized(dataset: Any) -> bool:
    return "size" in type(dataset).model_fields


def _dataset(name: str, plugins: tuple[Path, ...], size: int | None = None) -> tuple[Any, Any]:
    from jkbench.plugins.discovery import discover
    from jkbench.plugins.loading import load

    source = discover(plugins).find("dataset", name)
    if source.broken:
        raise UserError(f"data set {name!r} is broken: {source.broken}")
    dataset = load(source)()
    if size is None:
        return source, dataset
    if not _sized(dataset):
        raise UserError(f"data set {name!r} has images of one size", "leave --size out")
    return source, type(dataset)(size=size)
