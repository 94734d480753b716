"""``jkbench teacher``: list, train, export and import the networks that students learn from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jkbench.cli import options
from jkbench.errors import UserError

if TYPE_CHECKING:
    from jkbench.engine.images import LoadedDataset
    from jkbench.plugins.describe import Plugin
    from jkbench.records.teachers import Recipe
    from jkbench.tasks.task import Task

EPILOG = """\b
Examples:
  jkbench teacher list
  jkbench teacher train --task cifar100-fewshot-short
  jkbench teacher export --task cifar100-fewshot-short FILE
"""


@click.group(epilog=EPILOG)
def teacher() -> None:
    """List, train, export and import teachers.

    A teacher is trained once and stored in the leaderboard folder. Copy it to another machine to compare there."""


@teacher.command("list", epilog="\b\nExample:\n  jkbench teacher list --json\n")
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


@teacher.command(epilog="\b\nExample:\n  jkbench teacher train --task digits-fewshot\n")
@options.task()
@options.plugins
@options.leaderboard_folder
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda", help="Where to train.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, metavar="N", help="CPU threads.")
def train(task_name: str, plugins: tuple[Path, ...], folder: Path, device: str, threads: int) -> None:
    """Train a task's teacher, unless it is stored already."""
    from jkbench.execute import Machine, backends, work
    from jkbench.execute.progress import Progress

    task, datasets = _task(task_name, plugins, folder)
    _check_has(task, datasets)
    with Progress() as progress, backends.start(threads=threads) as workers:
        kind, _ = workers.call(work.machine_facts, device)
        machine = Machine(folder.resolve(), device=kind, threads=threads)
        trained = workers.call(work.train, task, datasets, ("teacher",), machine, heard=progress.hear)
    click.echo(trained["teacher"])


@teacher.command(epilog="\b\nExample:\n  jkbench teacher export --task digits-fewshot FILE\n")
@click.argument("file", type=click.Path(path_type=Path))
@options.task()
@options.plugins
@options.leaderboard_folder
def export(file: Path, task_name: str, plugins: tuple[Path, ...], folder: Path) -> None:
    """Write a task's teacher to FILE, for another machine."""
    from jkbench.engine.teacher import load
    from jkbench.files import write_atomically
    from jkbench.records.teachers import path

    recipe, images = _of_task(task_name, plugins, folder)
    stored = path(folder, recipe)
    if not stored.is_file():
        raise UserError(f"{task_name} has no teacher in {folder} yet", f"jkbench teacher train --task {task_name}")
    found = load(folder, recipe, images, _cpu())
    write_atomically(file, stored.read_bytes())
    click.echo(f"{file}: {found.describe()}")


@teacher.command("import", epilog="\b\nExample:\n  jkbench teacher import --task digits-fewshot FILE\n")
@click.argument("file", type=click.Path(path_type=Path))
@options.task()
@options.plugins
@options.leaderboard_folder
@click.option(
    "--role", type=click.Choice(["teacher", "student"]), default="teacher", show_default=True,
    help="student: the weights that the task's oracle starts from.",
)  # fmt: skip
def import_(file: Path, task_name: str, plugins: tuple[Path, ...], folder: Path, role: Any) -> None:
    """Read a task's teacher from FILE. A damaged file, another recipe and different images are refused.

    For a pre-trained teacher, FILE may also be timm's own weights (safetensors)."""
    from jkbench.engine.teacher import adopt

    recipe, images = _of_task(task_name, plugins, folder, role)
    found = adopt(file, folder.resolve(), recipe, images, _cpu())
    click.echo(found.describe())


def _cpu() -> Any:
    import torch

    return torch.device("cpu")


def _of_task(
    task_name: str, plugins: tuple[Path, ...], folder: Path, role: Any = "teacher"
) -> tuple[Recipe, LoadedDataset]:
    """The recipe of a task's teacher (or of the student that its oracle starts from), and the images it goes with."""
    from jkbench.execute.work import recipe_and_images

    task, datasets = _task(task_name, plugins, folder)
    _check_has(task, datasets, role)
    found = recipe_and_images(task, datasets, role)
    assert found is not None
    return found


def _task(task_name: str, plugins: tuple[Path, ...], folder: Path) -> tuple[Task, dict[str, Plugin]]:
    from jkbench.plugins.discovery import discover
    from jkbench.records import tasks as recorded_tasks

    task, index = recorded_tasks.load(task_name, folder), discover(plugins)
    return task, {name: index.find("dataset", name) for name in {task.target.dataset, task.teacher_images.dataset}}


def _check_has(task: Task, datasets: dict[str, Plugin], role: Any = "teacher") -> None:
    from jkbench.records import teachers

    if task.teacher is None:
        raise UserError(f"{task.name} is a {task.kind} task: it has no teacher")
    if teachers.of_task(task, datasets, role) is None:
        raise UserError(f"{task.name} has no pre-trained student")
