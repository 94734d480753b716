"""``jkbench run``: do what is missing of a task, and show its table."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jkbench.cli import options
from jkbench.errors import UserError, unknown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jkbench.execute import Machine
    from jkbench.execute.backends.processes import Workers
    from jkbench.plan import Plan, Trial
    from jkbench.records.schema import Record
    from jkbench.records.store import Store

EPILOG = """\b
Examples:
  jkbench run --methods all --task digits-fewshot
  jkbench run --methods 'jacobian[ce=0,jac=0.5],distill' --task digits-fewshot --shots 5 --seeds 10
  jkbench run --methods mine --task digits-fewshot --smoke
"""


@click.command(epilog=EPILOG)
@options.methods
@options.task()
@options.shots
@options.seeds
@options.plugins
@options.leaderboard_folder
@options.beside
@options.split
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda", help="Where to train.")
@click.option(
    "--jobs", default="auto", show_default=True, metavar="N|auto",
    help="Trials at a time. auto: as many as cores and memory allow.",
)  # fmt: skip
@click.option(
    "--threads", type=click.IntRange(min=1), default=1, show_default=True, metavar="N",
    help="CPU threads a trial. The same number gives the same bits; more than one pays for large networks only.",
)  # fmt: skip
@click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="Stop a trial after so long."
)
@click.option("--smoke", is_flag=True, help="Two steps a trial, nothing stored: does it run at all?")
def run(
    methods: str,
    task_name: str,
    shots: str | None,
    seeds: str | None,
    plugins: tuple[Path, ...],
    folder: Path,
    beside: tuple[Path, ...],
    split: Any,
    device: str,
    jobs: str,
    threads: int,
    timeout: float | None,
    smoke: bool,
) -> int:
    """Run what is missing of a task, and show its table.

    The same command again continues where it was stopped."""
    from jkbench.errors import Collector
    from jkbench.execute import started
    from jkbench.execute.progress import plain_warnings
    from jkbench.files import cache_folder
    from jkbench.records import tasks as recorded_tasks
    from jkbench.records import teachers
    from jkbench.records.store import Store

    plain_warnings()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's stop is a Ctrl-C

    with Collector() as problems:
        plan = None
        with problems.caught():
            plan, index = options.make_plan(task_name, methods, plugins, shots, seeds, split, folder, *beside)
        with problems.caught():
            check_device(device)
        with problems.caught():
            parse_jobs(jobs)
    assert plan is not None
    if smoke:
        with tempfile.TemporaryDirectory(prefix="jkbench-smoke-") as temporary:
            smoked = shortened(plan)
            setup = make_setup(Path(temporary), device, jobs, threads, timeout, smoked.trials, {}, cache=None)
            train_teacher(smoked, smoked.trials, setup)
            counts = execute(smoked.trials, setup, None)
        click.echo(f"smoke: {describe(counts)}; nothing was stored")
        return 1 if set(counts) & {"failed", "oom", "timeout"} else 0
    store = Store(folder, beside)
    store.check_writable()
    teachers.bring(folder, beside, plan.task, plan.trials[0].datasets)
    recorded_tasks.keep(task_name, folder)
    missing = missing_trials(plan, store)
    counts = {}
    if missing:
        known = store.read(plan.task.name).records
        setup = make_setup(folder, device, jobs, threads, timeout, missing, known, cache_folder())
        try:
            with started(missing, setup) as workers:
                train_teacher(plan, missing, setup)
                missing = missing_trials(plan, store, tell=False)
                first = measuring(missing, known, setup.device, jobs)
                if first:  # they tell what the others take
                    counts = execute(first, setup, store)
                    missing = [trial for trial in missing if trial not in first]
                    known = store.read(plan.task.name).records
                    setup = make_setup(folder, device, jobs, threads, timeout, missing, known, cache_folder())
                for status, count in execute(missing, setup, store, workers).items():
                    counts[status] = counts.get(status, 0) + count
        finally:
            store.fold(plan.task.name)
    show(plan, index, store, counts)
    return 1 if set(counts) & {"failed", "oom", "timeout"} else 0


def check_device(name: str) -> None:
    """Refuse a misspelt device, or CUDA where torch sees none, before anything is trained."""
    if name not in ("auto", "cpu", "cuda"):
        raise unknown("device", name, ("auto", "cpu", "cuda"))
    if name == "cuda":
        from jkbench.engine import environment

        environment.device(name)


def parse_jobs(text: str) -> int | None:
    """How many trials at a time; None for auto."""
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) == 0:
        raise UserError(f"--jobs: {text!r} is no number of trials", "write a number, or auto")
    return int(text)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_setup(
    folder: Path, device: str, jobs: str, threads: int, timeout: float | None, trials: Sequence[Trial],
    known: Mapping[str, Record], cache: Path | None,
) -> Machine:  # fmt: skip
    """How these trials run here: as many at a time as are wanted, or as cores and memory allow.

    What a trial takes is read off the task's ``known`` records. `UserError` where more are wanted than memory holds.
    """
    from jkbench.execute import Machine, memory
    from jkbench.records.timings import peak_memory_mb, seconds_by_cell

    if device == "auto":
        from jkbench.engine import environment

        device = environment.device("auto").type
    on_gpu = device == "cuda"
    wanted, most = parse_jobs(jobs), max(1, cores() // threads)
    peak = peak_memory_mb(known.values(), on_gpu)
    if on_gpu:
        from jkbench.engine import environment

        # one at a time until a record tells what a trial takes
        free, trial_mb = environment.free_memory_mb(), (peak or 0.0) + memory.CONTEXT_MB
        number = memory.jobs(wanted, most if peak else 1, free, trial_mb, "the GPU")
    else:
        number = memory.jobs(wanted, most, memory.available_mb(), peak or memory.ASSUMED_MB, "the machine's memory")
    number = min(number, max(len(trials), 1))
    return Machine(folder.resolve(), cache, device, number, threads, timeout, seconds_by_cell(known.values()))


def measuring(trials: list[Trial], known: Mapping[str, Record], device: str, jobs: str) -> list[Trial]:
    """The trials that run alone first: on a GPU whose memory is to be shared, one of every row, of its largest regime,
    until records tell how much a trial takes."""
    from jkbench.records.timings import peak_memory_mb
    from jkbench.tasks.shots import size

    if device != "cuda" or parse_jobs(jobs) is not None or peak_memory_mb(known.values(), on_gpu=True) is not None:
        return []
    largest: dict[str, Trial] = {}
    for trial in trials:
        other = largest.get(trial.row.label)
        if other is None or size(trial.shots) > size(other.shots):
            largest[trial.row.label] = trial
    return list(largest.values())


def shortened(plan: Plan) -> Plan:
    """The same plan with two steps a training, the teacher's too."""
    from dataclasses import replace

    short = {"steps": 2, "epochs": None, "drop_at": None}
    student = plan.task.student.model_copy(update={"training": plan.task.student.training.model_copy(update=short)})
    teacher = plan.task.teacher
    if teacher is not None and teacher.training is not None:
        teacher = teacher.model_copy(update={"training": teacher.training.model_copy(update=short)})
    task = plan.task.model_copy(update={"student": student, "teacher": teacher})
    return replace(plan, task=task, trials=[replace(trial, task=task) for trial in plan.trials])


def missing_trials(plan: Plan, store: Store, tell: bool = True) -> list[Trial]:
    """The plan's trials without a result of the present teacher and start, and a word about what is there."""
    from jkbench.records import teachers
    from jkbench.records.store import FINAL

    loaded = store.fold(plan.task.name)
    networks = teachers.present(store.folder, plan.task, plan.trials[0].datasets)
    results = [record for record in loaded.records.values() if record.status in FINAL]
    of_another = {record.id for record in results if networks.are_others(record)}
    done = {record.id for record in results} - of_another
    missing = [trial for trial in plan.trials if trial.id not in done]
    if not tell:
        return missing
    for complaint in loaded.complaints():
        click.echo(f"warning: {complaint}\n  hint: mend or delete it; the other records are used", err=True)
    there = len(plan.trials) - len(missing)
    notes = {
        "failed before": sum(trial.id in loaded.records and trial.id not in of_another for trial in missing),
        "are of another teacher or start": sum(trial.id in of_another for trial in missing),
    }
    told = ", ".join(f"{count} of them {what}" for what, count in notes.items() if count)
    text = f"{plan.task.name}: {len(plan.trials)} trials, {there} are there, {len(missing)} to run"
    click.echo(text + (f" ({told})" if told else ""), err=True)
    for name, reason in plan.not_applicable.items():
        click.echo(f"  not run here: {name} ({reason})", err=True)
    return missing


def execute(
    trials: list[Trial], setup: Machine, store: Store | None, workers: Workers | None = None
) -> dict[str, int]:  # fmt: skip
    """Run the trials and keep each record as it comes; how many ended in which status."""
    from jkbench import execute as backends
    from jkbench.execute.progress import Progress

    counts: dict[str, int] = {}
    with Progress({trial.id: trial.name for trial in trials}) as progress:
        try:
            progress.start()
            for record in backends.run(trials, setup, workers):
                if store is not None:
                    store.put(record)
                counts[record.status] = counts.get(record.status, 0) + 1
                progress.finished(record)
        except KeyboardInterrupt:
            kept = "every finished trial is kept; the same command continues" if store else "nothing was stored"
            progress.say(f"interrupted: {progress.done} of {progress.total} trials are done, {kept}")
            raise
    return counts


def train_teacher(plan: Plan, trials: list[Trial], setup: Machine) -> None:
    """See that the task's networks and images fit together; train its teacher, and its pre-trained student where a row
    starts from one, or check the kept ones."""
    sound = [trial for trial in trials if not trial.row.plugin.broken]
    if not sound:
        return
    from functools import partial

    import torch

    from jkbench.engine import environment
    from jkbench.engine import images as image_sets
    from jkbench.engine import teacher as networks
    from jkbench.engine.setup import check_fit
    from jkbench.execute.progress import Progress
    from jkbench.records import teachers

    environment.prepare()
    torch.set_num_threads(setup.threads)  # as in the trials: the same bits whichever process trains it
    data = image_sets.of_task(plan.task, sound[0].datasets)
    rows = {trial.row.label: trial.row for trial in sound}.values()
    depths = {
        str(row.parameters[parameter.name])
        for row in rows
        for parameter in row.plugin.parameters
        if parameter.annotation == "Depth"
    }
    check_fit(plan.task, data, {trial.shots for trial in sound}, depths)
    roles: list[teachers.Role] = ["teacher"]
    if any(row.plugin.facts.get("starts_pretrained") for row in rows):
        roles.append("student")
    with Progress({}) as progress:
        for role in roles:
            made = teachers.of_task(plan.task, sound[0].datasets, role)
            if made is None:
                continue
            told = partial(progress.training, role)
            trained = networks.obtain(setup.folder, made, data.source, environment.device(setup.device), told)
            progress.say(f"{role if role == 'teacher' else 'pre-trained student'} {trained.describe()}")


def describe(counts: dict[str, int]) -> str:
    """``188 ok, 2 diverged``."""
    return ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "nothing to run"


def show(plan: Plan, index: Any, store: Store, counts: dict[str, int]) -> None:
    """The task's table as it now is (of candidates on validation images: these alone), and where things are."""
    from rich.console import Console

    from jkbench.records.select import choose
    from jkbench.report.terminal import terminal_table

    split, loaded = plan.trials[0].split, store.read(plan.task.name)
    rows = [row.label for row in plan.rows]
    if split == "test":
        rows += [record.label for record in choose(plan.task, index, loaded).records]
    chosen = choose(plan.task, index, loaded, split=split, labels=rows)
    Console(width=None if sys.stdout.isatty() else 140).print(terminal_table(chosen))
    if counts:
        click.echo(f"ran {describe(counts)}")
    if split == "test":
        click.echo(
            f"records: {store.canonical / plan.task.name}; pages: jkbench leaderboard --leaderboard {store.folder}"
        )
    else:
        click.echo(f"validation records: {store.canonical / plan.task.name}; they never reach the leaderboard")
