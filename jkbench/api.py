"""jkbench from a script or a notebook: plans, runs, and records as pandas data frames.

Nothing is printed unless ``show`` asks for it, and a mistake is a `jkbench.UserError`. Methods are names, with
optional parameters in brackets, or paths of plugin files. Trials run in worker processes: a script needs no main guard.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jkbench.errors import UserError
from jkbench.files import of_package
from jkbench.tasks.shots import Shots, SplitName

if TYPE_CHECKING:
    import pandas as pd

    from jkbench.execute.run import Planned
    from jkbench.records.choices import Origin
    from jkbench.records.schema import Record
    from jkbench.records.select import Chosen

FIELDS = ("task", "method", "label", "parameters", "shots", "seed", "split", "status")
FACTS = ("message", "task_version", "protocol", "code", "reference", "created", "id")
COSTS = ("seconds", "signals_seconds", "step_ms", "steps", "peak_memory_mb", "trainable_parameters", "alone")


def run(
    task: str,
    methods: str | Sequence[str] = "all",
    *,
    shots: Shots | Sequence[Shots] | None = None,
    seeds: int | Sequence[int] | None = None,
    split: SplitName = "test",
    leaderboard: str | Path = "leaderboard",
    plugins: Sequence[str | Path] = (),
    set: Mapping[str, Any] | None = None,
    parameters: Origin = "task",
    device: str = "auto",
    jobs: int | None = None,
    threads: int = 1,
    timeout: float | None = None,
    executor: str = "processes",
    request: Mapping[str, Any] | None = None,
    show: bool = False,
) -> pd.DataFrame:
    """Run the missing trials of a task; returns all requested trials, one row each, as `results` does.

    ``seeds`` is how many (0, 1, …) or which; ``shots`` are images per class or "full"; ``set`` changes fields of the
    task by path ({"student.training.steps": 50}), which makes it another task; ``jobs`` None runs as many trials at a
    time as cores and memory allow; ``parameters`` are the task's, each method's "default" or the "tuned" ones;
    ``timeout`` is in seconds per trial; ``show`` prints progress on standard error, and warns if the run takes more
    than a day (`plan` tells beforehand).
    Existing records are reused. Raises `UserError` for what cannot run, before anything is trained.
    """
    from jkbench.execute.request import made as asked
    from jkbench.execute.run import run as run_planned
    from jkbench.execute.session import Resources

    resources = Resources(device, jobs, threads, timeout, executor, asked(request or {}))
    planned = _planned(task, methods, shots, seeds, split, leaderboard, plugins, set, parameters)
    run_planned(planned, resources, show)
    wanted = {trial.id for trial in planned.plan.trials}
    loaded = results(leaderboard, task=planned.plan.task.name, split=split)
    return loaded[loaded["id"].isin(wanted)].reset_index(drop=True)


def tune(
    task: str,
    methods: str | Sequence[str] = "all",
    *,
    budget: int = 16,
    seeds: Sequence[int] = (100, 101, 102),
    shots: Shots | Sequence[Shots] | None = None,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    leaderboard: str | Path = "leaderboard",
    plugins: Sequence[str | Path] = (),
    set: Mapping[str, Any] | None = None,
    device: str = "auto",
    jobs: int | None = None,
    threads: int = 1,
    timeout: float | None = None,
    executor: str = "processes",
    request: Mapping[str, Any] | None = None,
    show: bool = False,
) -> pd.DataFrame:
    """Give every method ``budget`` configurations of all its parameters, and choose on validation images.

    One row per configuration and regime: method, configuration (0 is the default), parameters, shots, accuracy (its
    validation mean over seeds, empty where it diverged), chosen. ``ranges`` replace the methods' own, by parameter.
    The choice is stored in the folder, for `run` with ``parameters="tuned"``. Raises `UserError` for what cannot
    run, or if a trial has no result.
    """
    import pandas as pd

    from jkbench.execute import tune as tuning
    from jkbench.execute.request import made as asked
    from jkbench.execute.session import Resources

    resources = Resources(device, jobs, threads, timeout, executor, asked(request or {}))
    files, folder = [Path(each) for each in plugins], Path(leaderboard)
    made = tuning.make(
        str(task), _names(methods), budget, ranges, _regimes(shots), seeds, plugins=files, folder=folder, settings=set
    )
    found = tuning.tune(made, resources, show)
    rows = [
        (name, at, each.parameters, regime, accuracy, each.parameters == tuned.at(regime))
        for name, tuned in found.methods.items()
        for at, each in enumerate(tuned.tried)
        for regime, accuracy in zip(found.shots, each.accuracy, strict=True)
    ]
    return pd.DataFrame(rows, columns=["method", "configuration", "parameters", "shots", "accuracy", "chosen"])


def plan(
    task: str,
    methods: str | Sequence[str] = "all",
    *,
    shots: Shots | Sequence[Shots] | None = None,
    seeds: int | Sequence[int] | None = None,
    split: SplitName = "test",
    leaderboard: str | Path = "leaderboard",
    plugins: Sequence[str | Path] = (),
    set: Mapping[str, Any] | None = None,
    parameters: Origin = "task",
    measure: bool = False,
    device: str = "auto",
    threads: int = 1,
) -> pd.DataFrame:
    """The trials of such a `run`, one row each: task, method, label, parameters, shots, seed, split, id, done, seconds.

    ``done`` says whether a record exists. ``seconds`` is how long the training takes, estimated from records of the
    row and regime or, with ``measure``, from a few steps timed here; empty if neither gives it. ``attrs["networks"]``
    are the seconds of the networks that are trained first, by role. Raises `UserError` for what `run` would refuse.
    """
    import pandas as pd

    from jkbench.execute import forecast
    from jkbench.execute.run import check, of_trials
    from jkbench.records.standing import standing

    planned = _planned(task, methods, shots, seeds, split, leaderboard, plugins, set, parameters)
    made, store = planned.plan, planned.store
    loaded = store.read(made.task.name)
    missing = standing(made, loaded, store.folder).missing
    if missing:
        check(planned)
    expected = forecast.by_records(of_trials(made, missing), loaded.records, store)
    if measure:
        expected = forecast.measured_here(expected, store, device, threads)
    ids = {trial.id for trial in missing}
    rows = [
        (made.task.name, t.row.plugin.name, t.row.label, t.row.parameters, t.shots, t.seed, t.split, t.id,
         t.id not in ids, expected.of(t)) for t in made.trials
    ]  # fmt: skip
    found = pd.DataFrame(rows, columns=[*FIELDS[:-1], "id", "done", "seconds"])
    found.attrs["networks"] = dict(expected.networks)
    return found


def results(
    leaderboard: str | Path = "leaderboard", *, task: str | None = None, split: SplitName | None = "test"
) -> pd.DataFrame:
    """All records of a leaderboard folder, or of one of its tasks: one row per trial, finished or not.

    Columns: task, method, label, parameters (a dict), shots, seed, split, status; every metric that a record has
    (shares in 0..1, nll in nats); what it cost (``seconds``, ``step_ms``, ``peak_memory_mb``, …); where it comes from.
    ``split`` None takes validation records too. ``leaderboard`` "suite" is the suite's own folder, also in `gains`
    and `predictions`.
    """
    import pandas as pd

    rows = [
        {name: getattr(record, name) for name in FIELDS}
        | record.metrics
        | ({} if record.cost is None else {name: getattr(record.cost, name) for name in COSTS})
        | {name: getattr(record, name) for name in FACTS}
        for record in _records(leaderboard, task, split)
    ]
    metrics = sorted({name for row in rows for name in row} - {*FIELDS, *COSTS, *FACTS})
    return pd.DataFrame(rows, columns=[*FIELDS, *metrics, *COSTS, *FACTS])


def predictions(leaderboard: str | Path = "leaderboard", *, task: str, split: SplitName = "test") -> pd.DataFrame:
    """The labels that the finished students of a task predict: one row per image and trial.

    Columns: label, shots, seed, image (its index among the scored images), predicted.
    """
    import pandas as pd

    from jkbench.records.schema import unpack_labels

    parts = []
    for record in _records(leaderboard, task, split):
        if record.predictions is not None:
            labels = unpack_labels(record.predictions)
            part = pd.DataFrame({"image": range(len(labels)), "predicted": labels})
            parts.append(part.assign(label=record.label, shots=record.shots, seed=record.seed))
    columns = ["label", "shots", "seed", "image", "predicted"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def gains(leaderboard: str | Path = "leaderboard", *, task: str, plugins: Sequence[str | Path] = ()) -> pd.DataFrame:
    """The paired gains of a task's rows over its baseline, as its page has them: one row per label, regime and metric.

    Columns: label, shots, metric, gain (the metric's unit), half_width (of the 95 % interval), n (seeds), p (adjusted
    for all comparisons of the page; empty for upper references).
    """
    from jkbench.report.page import compose
    from jkbench.report.tidy import tidy

    chosen = next(pages(_folder(leaderboard), task, plugins))
    found = tidy(compose(chosen))
    names = {"gain_half_width": "half_width", "gain_n": "n", "gain_p": "p"}
    kept = found[found["gain"].notna()][["label", "shots", "metric", "gain", *names]]
    return kept.drop(columns="n", errors="ignore").rename(columns=names).reset_index(drop=True)


def leaderboard(folder: str | Path = "leaderboard", *, plugins: Sequence[str | Path] = ()) -> list[Path]:
    """Write the pages of a leaderboard folder from its records; returns the paths of all pages."""
    from jkbench.report.leaderboard import write_leaderboard

    return write_leaderboard(Path(folder), list(pages(Path(folder), None, plugins)))


def pages(folder: Path, task: str | None, plugins: Sequence[str | Path]) -> Iterator[Chosen]:
    """What the page of each task rests on, or of one task alone."""
    from jkbench.plugins.discovery import discover
    from jkbench.records import tasks as recorded_tasks
    from jkbench.records.choices import read
    from jkbench.records.select import pages
    from jkbench.records.store import Store

    index, store = discover([Path(each) for each in plugins]), Store(folder)
    for name in [task] if task else store.tasks():
        loaded = store.read(name)
        if task or any(record.split == "test" for record in loaded.records.values()):
            found = recorded_tasks.load(name, folder)
            yield from pages(found, index, loaded, read(found, folder))


def _folder(name: str | Path) -> Path:
    """A leaderboard folder; ``suite`` is that of the suite's own records."""
    return of_package("suite", "leaderboard") if name == "suite" else Path(name)


def _records(folder: str | Path, task: str | None, split: SplitName | None) -> Iterator[Record]:
    from jkbench.records.store import Store

    store = Store(_folder(folder))
    if task is not None and task not in store.tasks():
        raise UserError(f"there are no records of {task!r} in {folder}", f"there are: {', '.join(store.tasks())}")
    for name in [task] if task else store.tasks():
        for record in sorted(store.read(name).records.values(), key=lambda each: each.sort_key):
            if split is None or record.split == split:
                yield record


def _planned(
    task: str, methods: str | Sequence[str], shots: Shots | Sequence[Shots] | None, seeds: int | Sequence[int] | None,
    split: SplitName, folder: str | Path, plugins: Sequence[str | Path], settings: Mapping[str, Any] | None,
    parameters: Origin,
) -> Planned:  # fmt: skip
    from jkbench.execute.run import make_plan

    numbers = range(seeds) if isinstance(seeds, int) else seeds
    return make_plan(
        str(task), _names(methods), _regimes(shots), numbers, split, [Path(each) for each in plugins], Path(folder),
        settings, origin=parameters,
    )  # fmt: skip


def _names(methods: str | Sequence[str]) -> str:
    return methods if isinstance(methods, str) else ",".join(methods)


def _regimes(shots: Shots | Sequence[Shots] | None) -> Sequence[Shots] | None:
    return [shots] if isinstance(shots, int | str) else shots
