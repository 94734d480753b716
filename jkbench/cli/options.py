"""Options that several commands share, and what their texts mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from jkbench.errors import UserError

if TYPE_CHECKING:
    from jkbench.plan import Plan
    from jkbench.plugins.discovery import Index
    from jkbench.tasks.shots import Shots, SplitName

Decorator = Callable[[Any], Any]


def _complete_tasks(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    names = sorted(path.stem for path in (Path(__file__).parent.parent / "tasks").glob("*.toml"))
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _complete_methods(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from jkbench.plugins.discovery import discover

    before, comma, last = incomplete.rpartition(",")
    names = ["all", *discover(tuple(context.params.get("plugins") or ())).methods()]
    return [CompletionItem(before + comma + name) for name in names if name.startswith(last)]


def task(required: bool = True) -> Decorator:
    """``--task NAME``."""
    return click.option(
        "--task", "task_name", metavar="NAME|FILE", required=required, shell_complete=_complete_tasks,
        help="A task's name, or the path of a task file (.toml).",
    )  # fmt: skip


methods = click.option(
    "--methods", default="all", show_default=True, metavar="NAMES", shell_complete=_complete_methods,
    help="Methods with commas, parameters in brackets: 'jacobian[jac=0.5],distill'; or all.",
)  # fmt: skip
plugins = click.option(
    "--plugins", multiple=True, type=click.Path(path_type=Path), metavar="DIR",
    help="A folder with more plugin files; may be given again.",
)  # fmt: skip
leaderboard_folder = click.option(
    "--leaderboard", "folder", type=click.Path(path_type=Path), default=Path("leaderboard"), show_default=True,
    envvar="JKBENCH_LEADERBOARD", metavar="DIR", help="Where records, teachers and tables are kept.",
)  # fmt: skip
beside = click.option(
    "--beside", multiple=True, type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="DIR",
    help="Another leaderboard folder whose records count and are shown too; it is only read. May be given again.",
)  # fmt: skip
shots = click.option("--shots", metavar="LIST", help="Images per class, with commas: 1,5,full. The task's by default.")
seeds = click.option(
    "--seeds", metavar="N|LIST", help="How many seeds (5 is 0..4), or which: 0,3 or 10-19. The task's by default."
)
split = click.option(
    "--split", type=click.Choice(["test", "validation"]), default="test", show_default=True,
    help="Images to score on. Choose parameters on validation: such records never reach the leaderboard.",
)  # fmt: skip
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def parse_shots(text: str | None) -> list[Shots] | None:
    """``1,5,full`` → [1, 5, "full"]."""
    from jkbench.tasks.shots import parse

    if text is None:
        return None
    found: list[Shots] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        found.append(parse(part, "--shots: "))
    if not found:
        raise UserError("--shots is empty", 'write for example "1,5,50" or "full"')
    return list(dict.fromkeys(found))


def parse_seeds(text: str | None) -> list[int] | None:
    """``5`` → [0, …, 4]; ``0,3`` → [0, 3]; ``10-12`` → [10, 11, 12]."""
    if text is None:
        return None
    hint = "write how many (5), or which (0,3 or 10-19)"
    if text.strip().isdigit():
        if int(text) == 0:
            raise UserError("--seeds: 0 seeds are no seeds", hint)
        return list(range(int(text)))
    found: list[int] = []
    for part in (part.strip() for part in text.split(",")):
        first, dash, last = part.partition("-")
        if not first.isdigit() or (dash and (not last.isdigit() or int(last) < int(first))):
            raise UserError(f"--seeds: {part!r} is no seed", hint)
        found += range(int(first), int(last if dash else first) + 1)
    return list(dict.fromkeys(found))


def make_plan(
    task_name: str,
    methods_text: str,
    plugin_folders: Sequence[Path],
    shots_text: str | None,
    seeds_text: str | None,
    split_name: SplitName,
    *folders: Path,
) -> tuple[Plan, Index]:
    """The plan of a command line; all that is wrong with it is told at once."""
    from jkbench import plan as planning
    from jkbench.errors import Collector
    from jkbench.plugins.discovery import discover
    from jkbench.records import tasks as recorded_tasks

    index, task, regimes, numbers = None, None, None, None
    with Collector() as problems:
        with problems.caught():
            index = discover(plugin_folders)
        with problems.caught():
            task = recorded_tasks.load(task_name, *folders)
        with problems.caught():
            regimes = parse_shots(shots_text)
        with problems.caught():
            numbers = parse_seeds(seeds_text)
        if task is None and index is not None:
            with problems.caught():
                planning.check_methods(index, methods_text)
        if task is not None and index is not None:
            with problems.caught():
                return_value = planning.make(task, index, methods_text, regimes, numbers, split_name)
    return return_value, index  # type: ignore[return-value]
