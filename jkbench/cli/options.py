"""Options that several commands share, and what their texts mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from jkbench.errors import UserError

if TYPE_CHECKING:
    from jkbench.execute.run import Planned
    from jkbench.execute.session import Resources
    from jkbench.tasks.shots import Shots

Decorator = Callable[[Any], Any]


def examples(*lines: str) -> str:
    """What a command's help ends with."""
    return "\n  ".join((f"\b\nExample{'s' * (len(lines) > 1)}:", *lines))


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
    help="Methods or plugin files (.py), separated by commas; parameters in brackets: 'jacobian[jac=0.5]'. Or all.",
)  # fmt: skip
plugins = click.option(
    "--plugins", multiple=True, type=click.Path(path_type=Path), metavar="DIR",
    help="A folder with more plugin files. Repeatable.",
)  # fmt: skip
leaderboard_folder = click.option(
    "--leaderboard", "folder", type=click.Path(path_type=Path), default=Path("leaderboard"), show_default=True,
    envvar="JKBENCH_LEADERBOARD", metavar="DIR", help="Folder of records, teachers and pages.",
)  # fmt: skip
beside = click.option(
    "--beside", multiple=True, type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="DIR",
    help="Also use and show the records of this leaderboard folder; never write there. Repeatable.",
)  # fmt: skip
shots = click.option(
    "--shots", metavar="LIST", help="Images per class, separated by commas: 1,5,full. Default: the task's."
)
seeds = click.option(
    "--seeds", metavar="N|LIST", help="Number of seeds (5 means 0 to 4), or a list: 0,3 or 10-19. Default: the task's."
)
split = click.option(
    "--split", type=click.Choice(["test", "validation"]), default="test", show_default=True,
    help="Images to score on. Choose parameters on validation images: their records never reach the leaderboard.",
)  # fmt: skip
origin = click.option(
    "--parameters", "origin", type=click.Choice(["task", "default", "tuned"]), default="task", show_default=True,
    help="Each method's parameters: as the task's file has them, the method's own, or what `jkbench tune` chose.",
)  # fmt: skip
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
device = click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda", help="Where to train.")
jobs = click.option(
    "--jobs", default="auto", show_default=True, metavar="N|auto",
    help="Trials to run at once. auto: as many as cores and memory allow.",
)  # fmt: skip
threads = click.option(
    "--threads", type=int, default=1, show_default=True, metavar="N",
    help="CPU threads per trial. The same number gives the same bits; more than one helps large networks only.",
)  # fmt: skip
timeout = click.option("--timeout", type=float, metavar="SECONDS", help="Stop a trial after this many seconds.")
settings = click.option(
    "--set", "settings", multiple=True, metavar="FIELD=VALUE",
    help="Change a field of the task (student.training.steps=50); the result is another task. Repeatable.",
)  # fmt: skip
budget = click.option(
    "--budget", type=click.Choice(["steps", "time"]), default="steps", show_default=True,
    help="What all methods get equally. time makes another task and needs `jkbench profile --keep`.",
)  # fmt: skip
executor = click.option(
    "--executor",
    default="processes",
    show_default=True,
    metavar="NAME",
    help="What runs trials: processes, serial, streams (several on one GPU), ray or slurm.",
)
address = click.option("--address", metavar="HOST:PORT", help="The Ray cluster to join. Default: one on this machine.")
request = click.option(
    "--request", "requests", multiple=True, metavar="FIELD=VALUE",
    help="What a trial asks of a cluster: partition=gpu, gpus=0.5, memory=8, minutes=60. Repeatable.",
)  # fmt: skip
in_process = click.option("--in-process", is_flag=True, help="Same as --executor serial, for a debugger.")


def _together(*decorators: Decorator) -> Decorator:
    """One decorator for several options, in this order."""

    def decorate(function: Any) -> Any:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


planning = _together(
    methods, task(), shots, seeds, settings, budget, plugins, leaderboard_folder, beside, split, origin
)
"""What says which trials are meant."""
resources = _together(device, jobs, threads, timeout, executor, in_process, address, request)
"""How they are run."""
checking = _together(plugins, leaderboard_folder, device, threads, executor, in_process, as_json)
"""Of commands that look at records, one after the other."""


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


MOST_SEEDS, LARGEST_SEED = 10_000, 10**9


def parse_seeds(text: str | None) -> list[int] | None:
    """``5`` → [0, …, 4]; ``0,3`` → [0, 3]; ``10-12`` → [10, 11, 12]."""
    if text is None:
        return None
    hint = "write how many (5), or which (0,3 or 10-19)"
    if text.strip() == "0":
        raise UserError("--seeds: 0 is not a number of seeds", hint)
    parts = [f"0-{int(text) - 1}"] if text.strip().isdecimal() else text.split(",")
    found: list[int] = []
    for part in map(str.strip, parts):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and (not last.isdecimal() or int(last) < int(first))):
            raise UserError(f"--seeds: {part!r} is not a seed", hint)
        span = range(int(first), int(last if dash else first) + 1)
        if span[-1] > LARGEST_SEED or len(span) + len(found) > MOST_SEEDS:
            raise UserError(
                f"--seeds: {text!r} is too large: at most {MOST_SEEDS:,} seeds, none above {LARGEST_SEED:,}",
                hint,
            )
        found += span
    return list(dict.fromkeys(found))


def make_plan(
    task_name: str,
    methods: str,
    plugins: Sequence[Path],
    shots: str | None,
    seeds: str | None,
    folder: Path,
    split: Any = "test",
    settings: tuple[str, ...] = (),
    beside: Sequence[Path] = (),
    origin: Any = "task",
    budget: str = "steps",
    **others: Any,
) -> Planned:
    """The plan of a command line; all that is wrong with it is told at once."""
    from jkbench.errors import Collector
    from jkbench.execute import run as application
    from jkbench.tasks import changes

    regimes, numbers, changed = None, None, {}
    with Collector() as problems:
        with problems.caught():
            regimes = parse_shots(shots)
        with problems.caught():
            numbers = parse_seeds(seeds)
        with problems.caught():
            changed = changes.parse((*settings, "budget=time") if budget == "time" else settings)
        with problems.caught():
            planned = application.make_plan(
                task_name, methods, regimes, numbers, split, plugins, folder, changed, beside, origin
            )
            if changed:
                click.echo(f"--set makes another task: {planned.plan.task.name}", err=True)
    return planned


def make_resources(
    device: str = "auto", jobs: str = "auto", threads: int = 1, timeout: float | None = None,
    executor: str = "processes", in_process: bool = False, address: str | None = None, requests: Sequence[str] = (),
    **others: Any,
) -> Resources:  # fmt: skip
    """What a command line lets a run use."""
    from jkbench.errors import Collector
    from jkbench.execute.request import NO_REQUEST, parse
    from jkbench.execute.session import Resources

    with Collector() as problems:
        number, asked = None, NO_REQUEST
        with problems.caught():
            number = parse_jobs(jobs)
        with problems.caught():
            asked = parse((*requests, *([f"address={address}"] if address else [])))
        with problems.caught():
            return Resources(device, number, threads, timeout, "serial" if in_process else executor, asked)
    raise AssertionError("what is wrong is raised")


def parse_jobs(text: str) -> int | None:
    """How many trials at a time; None for auto."""
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) == 0:
        raise UserError(f"--jobs: {text!r} is not a number of trials", "write a number, or auto")
    return int(text)
