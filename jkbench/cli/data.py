"""``jkbench data``: list, prepare and import data sets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from jkbench.cli import options


@click.group(
    epilog=options.examples(
        "jkbench data list",
        "jkbench data prepare cifar100",
        "jkbench data prepare flowers102 --size 96",
        "jkbench data import cifar100 FILE.npz",
    )
)
def data() -> None:
    """List, prepare and import data sets.

    Prepared images are stored in JKBENCH_DATA, by default in the user's cache."""


@data.command("list", epilog=options.examples("jkbench data list --json"))
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


@data.command(epilog=options.examples("jkbench data prepare cifar100", "jkbench data prepare flowers102 --size 96"))
@click.argument("name")
@click.option(
    "--size", type=click.IntRange(min=8), metavar="N", help="Image side in pixels, for data sets of photographs."
)
@options.plugins
def prepare(name: str, size: int | None, plugins: tuple[Path, ...]) -> None:
    """Download a data set, check it, and store its images in one folder.

    Photographs are resized and cropped once to the size that a task asks for; each size has its own folder."""
    from jkbench.execute.images import prepare as work

    click.echo(_in_worker(work, name, plugins, size))


@data.command("import", epilog=options.examples("jkbench data import cifar100 FILE.npz"))
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
@options.plugins
def import_(name: str, file: Path, plugins: tuple[Path, ...]) -> None:
    """Import images from an .npz file, for machines without a network.

    FILE holds train_images, test_images (uint8 N×H×W×C), train_labels and test_labels (indices of the class names),
    optionally classes, and validation_images and validation_labels if the set has them. The order of images does not
    matter. Images that differ from the published ones are refused. Photographs are not compared, because libraries
    resize differently; they must be square and of one size."""
    from jkbench.execute.images import adopt

    click.echo(_in_worker(adopt, name, plugins, file))


def _in_worker(work: Callable[..., str], name: str, plugins: tuple[Path, ...], what: object) -> str:
    from jkbench.execute import backends
    from jkbench.plugins.discovery import discover

    plugin = discover(plugins).find("dataset", name)
    with backends.start() as workers:
        return str(workers.call(work, plugin, what))
