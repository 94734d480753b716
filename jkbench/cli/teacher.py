"""``jkbench teacher``: list, train, export and import the networks that students learn from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jkbench.cli import options
from jkbench.errors import UserError

if TYPE_CHECKING:
    from jkbench.plugins.describe import Plugin
    from jkbench.records.teachers import Recipe
    from jkbench.tasks.task import Task


@click.group(
    epilog=options.examples(
        "jkbench teacher list",
        "jkbench teacher train --task cifar100-fewshot-short",
        "jkbench teacher export --task cifar100-fewshot-short FILE",
    )
)
def teacher() -> None:
    """List, train, export and import teachers.

    A teacher is trained once and stored in the leaderboard folder. Copy it to another machine to compare there."""


@teacher.command("list", epilog=options.examples("jkbench teacher list --json"))
@options.leaderboard_folder
@options.as_json
def list_(folder: Path, as_json: bool) -> None:
    """Show the stored teachers: recipe, accuracy, and the hash of their weights.

    Pre-trained ones are stored with the data, for all leaderboards."""
    from jkbench.files import data_folder
    from jkbench.records.weights import described

    files = [*(folder / "teachers").glob("*.safetensors"), *(data_folder() / "weights").glob("*.safetensors")]
    found = [(file, described(file)) for file in sorted(files)]
    if as_json:
        rows = [{"file": str(file), "damaged": net is None, **(net.model_dump() if net else {})} for file, net in found]
        click.echo(json.dumps(rows, indent=2))
        return
    if not found:
        click.echo(f"no teachers in {folder}")
    for file, network in found:
        if network is None:
            click.echo(f"{file}: damaged, or not a network of jkbench")
        else:
            click.echo(f"{_in_words(network.recipe, network.accuracy)}, weights {network.weights}, {file}")


def _in_words(recipe: dict[str, Any], accuracy: float | None) -> str:
    """``teacher vgg-9 on cifar100 (4 epochs): 48.67 %``."""
    if accuracy is None:
        return f"pre-trained {recipe['architecture']} on {recipe['pretrained'].get('source')}"
    training, images = recipe.get("training") or {}, recipe.get("images") or {}
    length = next((f"{training[unit]} {unit}" for unit in ("epochs", "steps") if training.get(unit)), "length unknown")
    how = f"{length}, augmented" if any((training.get("augment") or {}).values()) else length
    some = f"{len(images['classes'])} classes of " if images.get("classes") else ""
    return (
        f"{recipe.get('role')} {recipe['architecture']} on {some}{images.get('dataset')} ({how}): "
        f"{100 * accuracy:.2f} %"
    )


@teacher.command(epilog=options.examples("jkbench teacher train --task digits-fewshot"))
@options.task()
@options.plugins
@options.leaderboard_folder
@options.device
@options.threads
def train(task_name: str, plugins: tuple[Path, ...], folder: Path, device: str, threads: int) -> None:
    """Train a task's teacher, unless it is stored already."""
    from jkbench.execute import Machine, backends, work
    from jkbench.execute.progress import Progress

    task, datasets, recipe = _network(task_name, plugins, folder)
    resources = options.make_resources(device, threads=threads)
    with Progress() as progress, backends.start(threads=resources.threads) as workers:
        kind, _ = workers.call(work.machine_facts, device)
        machine = Machine(folder.resolve(), device=kind, threads=threads)
        click.echo(workers.call(work.train, task, datasets, [recipe], machine, heard=progress.hear)[0])


@teacher.command(epilog=options.examples("jkbench teacher export --task digits-fewshot FILE"))
@click.argument("file", type=click.Path(path_type=Path))
@options.task()
@options.plugins
@options.leaderboard_folder
def export(file: Path, task_name: str, plugins: tuple[Path, ...], folder: Path) -> None:
    """Write a task's teacher to FILE, for another machine."""
    from jkbench.execute import backends, work
    from jkbench.records.teachers import path

    network = _network(task_name, plugins, folder)
    if not path(folder, network[2]).is_file():
        raise UserError(f"{task_name} has no teacher in {folder} yet", f"jkbench teacher train --task {task_name}")
    with backends.start() as workers:
        click.echo(f"{file}: {workers.call(work.export_network, *network, folder, file)}")


@teacher.command("import", epilog=options.examples("jkbench teacher import --task digits-fewshot FILE"))
@click.argument("file", type=click.Path(path_type=Path))
@options.task()
@options.plugins
@options.leaderboard_folder
@click.option(
    "--role", type=click.Choice(["teacher", "student"]), default="teacher", show_default=True,
    help="student: the weights that the task's oracle starts from.",
)  # fmt: skip
def import_(file: Path, task_name: str, plugins: tuple[Path, ...], folder: Path, role: Any) -> None:
    """Import a task's teacher from FILE. Refuses a damaged file, another recipe, and different images.

    For a pre-trained teacher, FILE may also be timm's own weights (safetensors)."""
    from jkbench.execute import backends, work

    network = _network(task_name, plugins, folder, role)
    with backends.start() as workers:
        click.echo(workers.call(work.import_network, *network, folder.resolve(), file))


def _network(
    task_name: str, plugins: tuple[Path, ...], folder: Path, role: Any = "teacher"
) -> tuple[Task, dict[str, Plugin], Recipe]:
    """A task, its data sets' plugins, and the recipe of its network of this role. `UserError` where it has none."""
    from jkbench.plugins.discovery import discover
    from jkbench.records import tasks as recorded_tasks
    from jkbench.records import teachers

    task, index = recorded_tasks.load(task_name, folder), discover(plugins)
    datasets = {name: index.find("dataset", name) for name in {task.target.dataset, task.teacher_images.dataset}}
    recipe = teachers.of_task(task, datasets, role)
    if task.teacher is None:
        raise UserError(f"{task.name} is a {task.kind} task: it has no teacher")
    if recipe is None:
        raise UserError(f"{task.name} has no pre-trained student")
    return task, datasets, recipe
