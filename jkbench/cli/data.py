"""``jkbench data``: list, prepare and import data sets."""

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

    Prepared images are stored in JKBENCH_DATA, by default in the user's cache."""


@data.command("list", epilog="\b\nExample:\n  jkbench data list --json\n")
@options.plugins
@options.as_json
def list_(plugins: tuple[Path, ...], as_json: bool) -> None:
    """Show which data sets are available here, and at which sizes."""
    from jkbench.data import photographs, prepared
    from jkbench.files import data_folder
    from jkbench.plugins.discovery import discover

    found: list[dict[str, Any]] = []
    for plugin in discover(plugins).datasets().values():
        fetched = bool(plugin.facts.get("content") or plugin.facts.get("fetched"))
        stored = fetched and prepared.is_prepared(plugin.name)
        entry: dict[str, Any] = {
            "name": plugin.name,
            "fetched": fetched,
            "at_hand": stored or not fetched,
            "folder": str(prepared.path(plugin.name)) if stored else None,
        }
        if any(parameter.name == "size" for parameter in plugin.parameters):
            own, sizes = photographs.imported_size(plugin.name), photographs.sizes(plugin.name)
            entry |= {"at_hand": entry["at_hand"] or bool(sizes), "sizes": sizes, "imported_size": own}
        found.append(entry)
    if as_json:
        click.echo(json.dumps({"folder": str(data_folder()), "datasets": found}, indent=2))
        return
    width = max((len(entry["name"]) for entry in found), default=0)
    for entry in found:
        click.echo(f"{entry['name']:<{width}}  {'available' if entry['at_hand'] else 'missing'}  {_where(entry)}")


def _where(entry: dict[str, Any]) -> str:
    """Where a data set's images are, or the command that gets them."""
    name, own = entry["name"], entry.get("imported_size")
    if not entry["at_hand"]:
        return f"jkbench data prepare {name}" + (" --size N" if "sizes" in entry else "")
    if not entry["fetched"]:
        return "needs no download"
    if "sizes" not in entry:
        return str(entry["folder"])
    parts = [f"imported at {own}×{own}, serves this size and smaller ones: {entry['folder']}"] if own else []
    parts += [f"prepared at {', '.join(f'{size}×{size}' for size in entry['sizes'])}"] if entry["sizes"] else []
    return "; ".join(parts)


@data.command(epilog="\b\nExamples:\n  jkbench data prepare cifar100\n  jkbench data prepare flowers102 --size 96\n")
@click.argument("name")
@click.option(
    "--size",
    type=click.IntRange(min=8),
    metavar="N",
    help="Side of the images in pixels, for data sets of photographs.",
)
@options.plugins
def prepare(name: str, size: int | None, plugins: tuple[Path, ...]) -> None:
    """Download a data set, check it, and store its images in one folder.

    Photographs are resized and cropped once to the size that a task asks for; each size has its own folder."""
    plugin, dataset = _dataset(name, plugins, size)
    splits = dataset.load()
    counts, side = ", ".join(f"{len(split)} {part}" for part, split in splits.items()), splits["train"].shape[1]
    click.echo(f"{plugin.name}: {counts} images of {side}×{side} pixels")


@data.command("import", epilog="\b\nExample:\n  jkbench data import cifar100 FILE.npz\n")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
@options.plugins
def import_(name: str, file: Path, plugins: tuple[Path, ...]) -> None:
    """Import images from an .npz file, for machines without a network.

    FILE holds train_images, test_images (uint8 N×H×W×C), train_labels and test_labels (indices of the class names),
    optionally classes, and validation_images and validation_labels if the set has them. The order of images does not
    matter. Images that differ from the published ones are refused. Photographs are not compared, because
    libraries resize differently; they must be square and of one size."""
    from jkbench.data import photographs, prepared

    plugin, dataset = _dataset(name, plugins)
    if not (dataset.content or dataset.fetched):
        raise UserError(f"{name} cannot be imported: its plugin {plugin.path} has its own images")
    splits = prepared.read(plugin.name, file, dataset.classes)
    folder = prepared.path(plugin.name)
    if _sized(dataset):
        photographs.check_origin(plugin.name, photographs.sizes(plugin.name), prepared.content_of(splits))
    if not prepared.is_prepared(plugin.name):
        prepared.save(plugin.name, dataset.classes, dataset.content, splits)
        if _sized(dataset):
            _try_out(type(dataset)(size=splits["train"].shape[1]), folder)
    elif prepared.content_of(prepared.load(plugin.name, dataset.classes, "")) != prepared.content_of(splits):
        raise UserError(f"{folder} holds other images of {name}", "delete it, then import these")
    click.echo(f"{plugin.name}: {len(splits['train'])} training and {len(splits['test'])} test images, in {folder}")


def _try_out(dataset: Any, folder: Path) -> None:
    """Load what was just imported; remove its folder if the data set refuses it."""
    import shutil

    try:
        dataset.load()
    except UserError:
        shutil.rmtree(folder)
        raise


def _sized(dataset: Any) -> bool:
    return "size" in type(dataset).model_fields


def _dataset(name: str, plugins: tuple[Path, ...], size: int | None = None) -> tuple[Any, Any]:
    from jkbench.plugins.discovery import discover
    from jkbench.plugins.loading import load

    plugin = discover(plugins).find("dataset", name)
    if plugin.broken:
        raise UserError(f"data set {name!r} is broken: {plugin.broken}")
    dataset = load(plugin)()
    if size is None:
        return plugin, dataset
    if not _sized(dataset):
        raise UserError(f"data set {name!r} has images of one size only", "omit --size")
    return plugin, type(dataset)(size=size)
