"""How long a run takes, said before it runs: from records, or from steps whose times are made up here."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small
from user_folder import METHOD

import jkbench as package
from jkbench import planning
from jkbench.cli import main
from jkbench.engine import images as image_sets
from jkbench.engine import profile as profiling
from jkbench.execute import forecast
from jkbench.execute import work as workers
from jkbench.execute.run import make_plan
from jkbench.execute.run import run as run_plan
from jkbench.execute.session import Resources
from jkbench.files import of_package
from jkbench.plugins.discovery import Index
from jkbench.records import teachers
from jkbench.records.store import Store
from jkbench.records.timings import duration
from jkbench.tasks import builtin
from jkbench.tasks import task as tasks

STEP = 0.25


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every step takes a quarter of a second; how many were taken at a time."""
    taken: list[int] = []

    def seconds(run: Callable[[], object], device: object, repeats: int) -> list[float]:
        taken.append(repeats)
        run()
        return [STEP] * repeats

    monkeypatch.setattr(profiling, "_seconds", seconds)
    return taken


def jkbench(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    try:
        code = main(list(arguments))
    except SystemExit as end:
        code = int(end.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def plan(capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    code, out, err = jkbench(capsys, "plan", "--task", "small.toml", "--methods", "scratch,distill", "--json", *more)
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def test_steps_are_timed_where_no_record_tells(
    work: Path, capsys: pytest.CaptureFixture[str], steps: list[int]
) -> None:
    """8 trials of 4 steps and a teacher of 10; after `run --methods scratch`, 4 trials."""
    told = plan(capsys, "--measure")
    assert told["estimated_seconds_one_job"] == pytest.approx(STEP * (8 * 4 + 10))
    assert (told["estimated_from_steps"], told["estimated_from_records"]) == (8, 0)
    assert told["networks_to_train"] == {"teacher": pytest.approx(STEP * 10)}
    assert jkbench(capsys, "run", "--task", "small.toml", "--methods", "scratch", "--jobs", "1")[0] == 0
    told = plan(capsys, "--measure")
    assert told["estimated_seconds_one_job"] == pytest.approx(STEP * 4 * 4)
    assert (told["to_run"], told["estimated_from_steps"], told["networks_to_train"]) == (4, 4, {})


def test_without_measure_the_plan_says_how(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where every trial has its time, and the teacher has not."""
    words = ("plan", "--task", "small.toml", "--methods", "scratch")
    teacher = "teacher vgg:8-M-8 is not here: `jkbench run` trains it first (10 steps)"
    measure = "--measure times a few steps of each row"
    out = jkbench(capsys, *words)[1].splitlines()
    assert out[-2:] == [teacher, f"time: no records to estimate from; {measure}"]
    assert jkbench(capsys, "run", *words[1:], "--seeds", "1", "--jobs", "1")[0] == 0
    (stored,) = (work / "leaderboard/teachers").glob("*.safetensors")
    stored.unlink()
    out = jkbench(capsys, *words)[1].splitlines()
    assert out[-2] == teacher
    assert out[-1].endswith(f"(trials: 2 from records; {measure})")


def test_the_api_tells_the_seconds_of_each_trial(work: Path, steps: list[int]) -> None:
    assert package.plan("small.toml", "scratch")["seconds"].isna().all()
    found = package.plan("small.toml", "scratch", measure=True)
    assert found["seconds"].tolist() == [4 * STEP] * 4
    assert found.attrs["networks"] == {"teacher": 10 * STEP}


def test_a_row_that_cannot_be_timed_is_taken_for_an_average_one(
    work: Path, capsys: pytest.CaptureFixture[str], steps: list[int]
) -> None:
    """It fails in its trials, one by one, where a record says why."""
    (work / "methods/mine.py").write_text(METHOD.replace("        yield", "        1 / 0\n        yield"))
    told = plan(capsys, "--measure", "--methods", "scratch,mine")
    assert told["estimated_from_steps"] == 4
    assert told["estimated_seconds_one_job"] == pytest.approx(STEP * (8 * 4 + 10))


def test_regimes_with_batches_of_one_size_are_timed_once_and_counted_in_their_own_steps(
    index: Index, steps: list[int]
) -> None:
    """Of digits 0 to 2, in batches of at most 8 and epochs: 6 images are one step an epoch, 24 are 3, 48 are 6."""
    task = small.task(steps=None, epochs=5, batch=8)
    task = task.model_copy(update={"target": task.target.model_copy(update={"classes": (0, 1, 2)})})
    trials = planning.make(task, index, "scratch", shots=(2, 8, 16), seeds=[0]).trials
    data = image_sets.of_task(task, trials[0].datasets)
    found = profiling.expected_seconds(trials, data, small.CPU)
    assert found == pytest.approx([STEP * 5, STEP * 15, STEP * 30])
    assert len(steps) == 2 * (1 + 2)  # a first step, then as many as fit into half a second


def test_a_network_takes_its_epochs_over_all_its_images(index: Index, steps: list[int]) -> None:
    task = small.task()
    assert task.teacher is not None
    training = tasks.Training(learning_rate=1e-3, epochs=3, batch=100)
    task = task.model_copy(update={"teacher": task.teacher.model_copy(update={"training": training})})
    trial = planning.make(task, index, "distill").trials[0]
    data = image_sets.of_task(task, trial.datasets).source
    recipe = teachers.of_task(task, trial.datasets)
    assert recipe is not None
    images = len(data.splits["train"])
    assert profiling.expected_training(recipe, data, small.CPU) == pytest.approx(STEP * 3 * -(-images // 100))


def test_a_slow_step_is_timed_on_a_part_of_its_images() -> None:
    """Of 64 images at 0.1 s an image 16 are timed; at 0.01 s all are, where the step has a start of 0.2 s."""
    seen: list[int] = []

    def slow(images: int) -> float:
        seen.append(images)
        return 0.1 * images

    assert profiling._scaled(slow, 64) == pytest.approx(6.4)
    assert seen == [16]
    assert profiling._scaled(lambda images: 0.2 + 0.01 * images, 64) == pytest.approx(0.84)
    assert profiling._scaled(slow, 8) == pytest.approx(0.8)


class Refused(Exception):
    pass


def refuse(told: str) -> None:
    raise Refused(told)


@pytest.mark.parametrize(("jobs", "told"), [(1, "3 min 22 s"), (2, "1 min 41 s")])
def test_a_run_of_more_than_a_day_says_so_before_anything_is_trained(
    work: Path, monkeypatch: pytest.MonkeyPatch, steps: list[int], jobs: int, told: str
) -> None:
    """4 trials of 200 steps and a teacher of 10: 202.5 s, here more than a day."""
    monkeypatch.setattr(forecast, "DAY", 60.0)
    settings = {"student.training.steps": 200}
    planned = make_plan("small.toml", "scratch", folder=work / "board", settings=settings)
    with pytest.raises(Refused, match=rf"^this takes about {told} here"):
        run_plan(planned, Resources(jobs=jobs), show=False, agree=refuse)
    assert not (work / "board/teachers").exists()


def test_a_run_that_no_step_can_make_long_is_not_timed(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling, "_seconds", refuse)
    planned = make_plan("small.toml", "scratch", [2], [0], folder=work / "board")
    assert run_plan(planned, Resources(jobs=1), show=False, agree=refuse) == {"ok": 1}


@pytest.mark.parametrize(("day", "timed"), [(600.0, ["scratch"]), (500.0, ["scratch", "distill"])])
def test_a_run_that_one_method_shows_to_be_short_times_no_other(
    work: Path, monkeypatch: pytest.MonkeyPatch, steps: list[int], day: float, timed: list[str]
) -> None:
    """16 trials of 4 steps and a teacher of 10, at a quarter of a second: 18.5 s, and 30 times that is 555 s."""
    seen: list[str] = []
    expected = workers.expected

    def noting(trials: Any, *more: Any) -> Any:
        seen.append(trials[0].row.plugin.name)
        return expected(trials, *more)

    monkeypatch.setattr(forecast, "DAY", day)
    monkeypatch.setattr(workers, "expected", noting)
    planned = make_plan("small.toml", "scratch,distill", [2, 4], range(4), folder=work / "board")
    run_plan(planned, Resources(jobs=1), show=False)
    assert seen == timed


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_is_asked_for_yes_and_a_script_is_told(
    work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, steps: list[int]
) -> None:
    monkeypatch.setattr(forecast, "DAY", 2.0)
    words = ("run", "--task", "small.toml", "--methods", "scratch", "--shots", "2", "--jobs", "1", "--seeds")
    with monkeypatch.context() as attached:
        attached.setattr("sys.stdin", Terminal())
        code, _, err = jkbench(capsys, *words, "1")
        assert code == 2
        assert "this takes about 4 s here\n  hint: add --yes to run it" in err
        assert jkbench(capsys, *words, "1", "--yes")[0] == 0
    for file in (work / "leaderboard/records/small").iterdir():
        file.unlink()
    code, _, err = jkbench(capsys, *words, "9")
    assert code == 0
    assert err.count("this takes about 9 s here\n") == 1


def test_a_cheaper_task_is_one_whose_records_say_so(index: Index, tmp_path: Path) -> None:
    """Against the records' mean seconds, read as a data frame; a cell without records takes the mean of all cells, as
    long as half are known."""
    made = planning.make(tasks.load("cifar100-fewshot"), index, "scratch,distill,jacobian")
    found = forecast.cheaper(made, index, Store(tmp_path), 1e7)
    assert found is not None
    sums = {}
    for name in Store(of_package("suite", "leaderboard")).tasks():
        task = tasks.load(name) if name in builtin() else None
        if task is not None and task.kind == made.task.kind:
            records = package.results("suite", task=name, split=None)
            means = records[records["status"] == "ok"].groupby(["label", "shots"])["seconds"].mean()
            cells = [
                means.get((row.label, shots))
                for row in planning.make(task, index, "scratch,distill,jacobian").rows
                for shots in task.shots
            ]
            if 2 * cells.count(None) <= len(cells):
                sums[name] = task.seeds * sum(means.mean() if cell is None else cell for cell in cells)
    best = max((name for name in sums if sums[name] <= 3600), key=lambda name: sums[name])
    assert found == (best, pytest.approx(sums[best]))
    assert forecast.cheaper(made, index, Store(tmp_path), 10 * min(sums.values()) - 1) is None


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(86400.0, "24 h"), (100_000, "27 h 46 min"), (2 * 86400 + 3 * 3600, "2 days 3 h"), (41.3 * 86400, "41 days")],
)
def test_days_are_told_in_days(seconds: float, told: str) -> None:
    assert duration(seconds) == told
