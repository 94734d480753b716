"""Proposition 3 on a task's own images, teacher and students: distances and slopes against scipy, and the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist, directed_hausdorff
from small import CPU, where
from small import task as small_task
from small_networks import generator
from torch import Tensor

from jkbench import planning as plan
from jkbench.cli import cli, main
from jkbench.data.arrays import Split, subset
from jkbench.engine import images as image_sets
from jkbench.engine.setup import make_ready, trained_networks
from jkbench.engine.trial import train_and_score
from jkbench.errors import UserError
from jkbench.maths import bound
from jkbench.models.network import seeded
from jkbench.papers.theory import bound_page, measured, page
from jkbench.papers.theory.bound import Recorded, Regime
from jkbench.papers.theory.measured import COPIES, MeasuredStudent, Pixels, Side, large_set
from jkbench.planning import record_fields
from jkbench.plugins.discovery import Index
from jkbench.records.schema import Record
from jkbench.records.store import Store
from jkbench.report.render import markdown
from jkbench.statistics import Interval
from jkbench.tasks import task as tasks

TASK = """
name = "tiny-transfer"
version = 1
kind = "transfer"
title = "Tiny"
shots = [1, 4]
seeds = 2
target = { dataset = "digits", classes = [5, 6, 7] }
source = { dataset = "digits", classes = [0, 1, 2] }
[teacher]
architecture = "vgg:8-M-8"
training = { learning_rate = 1e-3, steps = 20, batch = 32 }
[student]
architecture = "vgg:4-M-4"
training = { learning_rate = 1e-3, steps = 5, batch = 8 }
"""


def quiet(what: str, done: int, total: int) -> None:
    pass


def points(count: int, seed: int, width: int = 12) -> Tensor:
    return torch.randn(count, width, generator=generator(seed), dtype=torch.float64)


# distances and slopes


@pytest.mark.parametrize("size", [1, 7, 64, 1024])
def test_distances_in_parts_are_those_of_scipy(size: int) -> None:
    source, target = points(150, 1), points(40, 2)
    assert bound.hausdorff(source, target, size) == pytest.approx(directed_hausdorff(source, target)[0], rel=1e-12)
    assert torch.equal(bound.nearest(source, target, size), bound.nearest(source, target, 10_000))
    assert bound.nearest(source, target, size).numpy() == pytest.approx(cdist(source, target).min(1), rel=1e-12)


@pytest.mark.parametrize("size", [1, 7, 64, 1024])
def test_slopes_in_parts_are_those_of_all_pairs(size: int) -> None:
    source, target = points(90, 3), points(30, 4)
    values, held = points(90, 5, 1)[:, 0], points(30, 6, 1)[:, 0]

    def steepest(a: Tensor, b: Tensor, x: Tensor, y: Tensor) -> float:
        differences, distances = (a[:, None] - b[None]).abs().numpy(), cdist(x, y)
        return float((differences[distances > 0] / distances[distances > 0]).max())

    assert bound.lipschitz(values, source, size) == pytest.approx(steepest(values, values, source, source), rel=1e-12)
    between = bound.lipschitz_between(values, source, held, target, size)
    assert between == pytest.approx(steepest(values, held, source, target), rel=1e-12)


def test_points_on_one_place_have_no_slope() -> None:
    assert bound.lipschitz(torch.tensor([1.0]), torch.zeros(1, 3)) == 0.0
    assert bound.lipschitz(torch.tensor([1.0, 5.0]), torch.zeros(2, 3)) == 0.0


def test_parts_alone_are_read() -> None:
    """What is read of a set is never more than a part of it, and each part of the target is read once."""

    class Read:
        def __init__(self, held: Tensor) -> None:
            self.held, self.parts = held, list[int]()

        def __len__(self) -> int:
            return len(self.held)

        def __getitem__(self, part: slice) -> Tensor:
            self.parts.append(len(self.held[part]))
            return self.held[part]

    source, target = Read(points(50, 7)), Read(points(30, 8))
    seen: list[tuple[int, int]] = []
    bound.nearest(source, target, size=8, told=lambda done, total: seen.append((done, total)))
    assert max(source.parts + target.parts) == 8
    assert sum(target.parts) == 30
    assert seen == [(done, 28) for done in range(1, 29)]


# images, copies, and the set that stands for the source


@pytest.fixture(scope="module")
def transfer(index: Index) -> tuple[tasks.Task, image_sets.TaskData]:
    made = small_task("transfer")
    return made, image_sets.of_task(made, plan.make(made, index, "lwf").trials[0].datasets)


def test_a_copy_is_the_same_however_many_are_read(transfer: tuple[tasks.Task, image_sets.TaskData]) -> None:
    task, data = transfer
    images = large_set(task, data, 20, CPU).images
    plain, copies = Pixels(images), Pixels(images, COPIES, range(20), seed=3)
    whole = copies[:20]
    assert torch.equal(whole, torch.cat([copies[at : at + 3] for at in range(0, 20, 3)]))
    assert float((whole - plain[:20]).std()) == pytest.approx(COPIES, rel=0.1)
    assert not torch.equal(whole, Pixels(images, COPIES, range(20), seed=4)[:20])


def test_the_source_is_the_tasks_own_and_drawn_from_by_name(transfer: tuple[tasks.Task, image_sets.TaskData]) -> None:
    task, data = transfer
    whole, some, again = (large_set(task, data, count, CPU) for count in (10_000, 50, 50))
    train = data.source.splits["train"]
    assert whole.own
    assert not whole.sampled
    assert torch.equal(whole.images.pixels(slice(None)).permute(0, 2, 3, 1), torch.from_numpy(train.images))
    assert some.sampled
    assert (len(some.images), some.total) == (50, len(train))
    assert torch.equal(some.images.read(slice(None)), again.images.read(slice(None)))


def test_without_a_source_the_target_and_another_set_stand_for_it(
    index: Index, transfer: tuple[tasks.Task, image_sets.TaskData]
) -> None:
    task, data = transfer
    away = task.model_copy(update={"source": None})
    target = len(data.target.splits["train"])
    alone = large_set(away, data, 10_000, CPU)
    assert (alone.own, alone.total) == (False, target)
    more = (tasks.Images(dataset="digits"), image_sets.images(index.find("dataset", "digits"), task.target))
    both = large_set(away, data, 10_000, CPU, more)
    assert both.total == 2 * target
    assert torch.equal(both.images.read(slice(target)), both.images.read(slice(target, None)))
    some = large_set(away, data, 30, CPU, more)
    assert len(some.images) == 30
    text = markdown.words(bound_page._source(both, away))
    assert "are not available" in text
    assert "**Another large set serves as D\\_l**" in text
    assert "lower estimate" in bound_page._sampled(some)
    with pytest.raises(UserError, match="names its source"):
        large_set(task, data, 10, CPU, more)
    small = image_sets.LoadedDataset({"train": Split(np.zeros((3, 4, 4, 1), np.uint8), np.zeros(3, np.int64))}, (), "")
    with pytest.raises(UserError, match=r"--source other"):
        large_set(away, data, 10, CPU, (tasks.Images(dataset="other"), small))


# a student


def test_a_students_bound_is_that_of_plain_numpy(
    index: Index, references: Path, transfer: tuple[tasks.Task, image_sets.TaskData]
) -> None:
    task, data = transfer
    (trial,) = plan.make(task, index, "lwf", seeds=[1]).trials
    large = large_set(task, data, 60, CPU)
    (student,) = measured.measure([trial], where(references), large, data, quiet)

    with seeded("layers", 1):
        ready = make_ready(trial, CPU, data, trained_networks(trial, where(references), data))
        metrics, _ = train_and_score(ready)
    assert student.accuracy == metrics["accuracy"]
    pool = data.target.splits["train"]
    chosen = subset(pool.labels, 4, 1)
    mean, std = (each.numpy().reshape(1, -1, 1, 1) for each in data.normalisation)
    target = (pool.images[chosen].transpose(0, 3, 1, 2).astype(np.float32) / 255 - mean) / std
    source = large.images.read(slice(None)).numpy()
    noisy = Pixels(ready.loop.batches.images, COPIES, chosen.tolist(), 1)[:20].numpy().reshape(target.shape)
    assert ready.loop.teacher is not None
    teacher, trained = ready.loop.teacher, ready.student.eval()

    @torch.no_grad()
    def outputs(x: Any) -> tuple[Any, Any]:
        x = torch.from_numpy(np.ascontiguousarray(x))
        difference = teacher(x).logits - trained(x).teacher_logits
        return difference.double().square().sum(1).numpy(), teacher.body(x)[1].numpy()

    flat = [each.reshape(len(each), -1) for each in (source, target, noisy)]
    (values, far), (held, near), (_, noised) = (outputs(each) for each in (source, target, noisy))
    assert student.images == len(target) == 20
    for side, (a, b, c) in zip(student.sides, [flat, [far, near, noised]], strict=True):
        every, rho = np.concatenate([a, b]), np.concatenate([values, held])
        distances = cdist(a, every)
        slopes = np.abs(values[:, None] - rho[None])[distances > 1e-6] / distances[distances > 1e-6]
        assert side.distance == pytest.approx(directed_hausdorff(a, b)[0], rel=1e-4)
        copied = directed_hausdorff(a, np.concatenate([b, c]))[0]
        assert side.distance_with_copies == pytest.approx(copied, rel=1e-4)
        assert side.distance_with_copies <= side.distance  # the lemma
        assert side.slope == pytest.approx(slopes.max(), rel=1e-3)
        assert side.source_mean == pytest.approx(values.mean(), rel=1e-4)
        assert side.target_max == pytest.approx(held.max(), rel=1e-4)
        assert side.right == pytest.approx(held.max() + slopes.max() * directed_hausdorff(a, b)[0], rel=1e-3)
        assert side.holds
        assert side.empty == (side.right >= values.max())


def test_more_images_of_the_target_are_nearer_and_a_methods_error_is_told(
    index: Index, references: Path, transfer: tuple[tasks.Task, image_sets.TaskData], monkeypatch: pytest.MonkeyPatch
) -> None:
    task, data = transfer
    trials = plan.make(task, index, "scratch", shots=[1, 5, "full"], seeds=[0]).trials
    found = list(measured.measure(trials, where(references), large_set(task, data, 80, CPU), data, quiet))
    for space in range(2):
        distances = [student.sides[space].distance for student in found]
        assert distances == sorted(distances, reverse=True)
        copied = [student.sides[space].distance_with_copies for student in found]
        assert copied == sorted(copied, reverse=True)  # copies are nested, as the images are

    def broken(ready: object) -> None:
        raise ZeroDivisionError("by the method")

    monkeypatch.setattr(measured, "train_and_score", broken)
    with pytest.raises(UserError, match="by the method"):
        list(measured.measure(trials[:1], where(references), large_set(task, data, 80, CPU), data, quiet))


# the page


def side(right: float, source: float, space: str = "pixels", **changes: float) -> Side:
    numbers = {"distance": 2.0, "source_max": 2 * source, **changes}
    copied, slope = 0.75 * numbers["distance"], (right - 1) / numbers["distance"]
    return Side(space=space, source_mean=source, target_max=1.0, distance_with_copies=copied, slope=slope, **numbers)


def spaces(*factors: float, gains: tuple[Interval | None, ...] = (None, None)) -> dict[str, list[Regime]]:
    return {
        "pixels": [
            Regime(shots, 3 * int(shots), 3, (side(5 * factor, 5.0, distance=2.0 - at),), gain)
            for at, (shots, factor, gain) in enumerate(zip((1, 5), factors, gains, strict=True))
        ]
    }


def said(found: dict[str, list[Regime]]) -> str:
    return "\n".join(map(markdown.words, bound_page.findings(found, small_task("transfer"), silent=30.0)))


def test_the_verdict_is_made_from_the_numbers() -> None:
    empty = said(spaces(1000.0, 2000.0))
    assert "explains nothing" in empty
    assert "1,000 times" in empty
    assert "1 of 2 cases in pixels" not in empty
    assert "2 of 2 cases in pixels: **it says less" in empty
    assert "in 2 of 2 cases the bound does not exclude it" in empty
    assert "no more than an order of magnitude" in said(spaces(3.0, 20.0))
    assert "E over the source stays at 5.00: they do not move in the same direction" in empty
    assert "Noisy copies shorten H by 25.0 %" in empty
    tight = said(spaces(1.5, 1.2))
    assert "close to what it bounds" in tight
    assert "0 of 2 cases in pixels. A student" in tight
    assert "in 0 of 2 cases the bound does not exclude it" in tight
    assert "The bound holds in all 2 cases" in tight
    assert "**The bound fails** in 1 of 2 cases" in said(spaces(0.9, 3.0))
    assert bound_page.findings({}, small_task("transfer"), 0.0) == ["Nothing: no student has finished."]


def test_gains_are_read_with_their_intervals() -> None:
    apart = said(spaces(3.0, 3.0, gains=(Interval(-6.0, 1.0, 5), Interval(2.0, 1.0, 5))))
    assert "lies above zero in 1 of 2 regimes and below zero in 1" in apart
    assert "from −6.00 to +2.00 points: it grows while H falls" in apart
    overlapping = said(spaces(3.0, 3.0, gains=(Interval(-1.0, 3.0, 5), Interval(2.0, 1.0, 5))))
    assert "with overlapping intervals" in overlapping
    assert "in 1 of 2 regimes and below zero in 0" in overlapping
    assert "interval of the gain" not in said(spaces(3.0, 3.0))


def test_gaps_are_told(index: Index) -> None:
    task = small_task("transfer")
    trials = plan.make(task, index, "lwf", shots=[1, 4], seeds=[0, 1]).trials
    students = [
        MeasuredStudent(trials[0], 5, 0.5, ()),
        MeasuredStudent(trials[1], 5, 0.25, ()),
        MeasuredStudent(trials[2], 0, None, (), 0, ""),
    ]
    found = Recorded({1: Interval(1.0, 2.0, 2)}, {trials[0].id: 0.5, trials[1].id: 0.5})
    text = "\n".join(bound_page._gaps(students, task, "lwf", found))
    assert "No gain at 4 per class" in text
    assert "have no bound: 4 per class, seed 0" in text
    assert "1 of the 2 students with a record have exactly its accuracy; the others differ by at most 25.00" in text
    assert "is the baseline itself" in "\n".join(bound_page._gaps(students, task, task.baseline, found))


@pytest.fixture
def own(nowhere: Path) -> Path:
    (nowhere / "tiny-transfer.toml").write_text(TASK)
    return nowhere


def run(*arguments: str) -> int:
    code = cli.main(["theory", *arguments, "--device", "cpu"], standalone_mode=False)
    assert isinstance(code, int)
    return code


def test_the_command_writes_its_page_with_and_without_records(
    own: Path, index: Index, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = ["--bound", "tiny-transfer.toml", "--leaderboard", "board", "--out", "out", "--source-images", "70"]
    assert run(*wanted) == 0
    text, image = (own / "out/bound-tiny-transfer.md").read_text(), (own / "out/bound-tiny-transfer.png").read_bytes()
    assert image.startswith(b"\x89PNG")
    assert "No gain at 1 per class, 4 per class" in text
    assert "A random sample of 70 of these images is used" in text
    assert "no gains: board has no records of lwf beside scratch" in capsys.readouterr().err
    assert not list((own / "board").rglob("*.json*")), "nothing is recorded"
    assert list((own / "board/teachers").glob("*.safetensors"))

    task = tasks.load("tiny-transfer.toml")
    store = Store(own / "board")
    for trial in plan.make(task, index, "lwf,scratch").trials:
        accuracy = {"scratch": 0.5, "lwf": 0.6}[trial.row.label] + 0.02 * trial.seed * (trial.row.label == "lwf")
        store.put(Record(**{**record_fields(trial), "status": "ok", "metrics": {"accuracy": accuracy}}))
    assert run(*wanted) == 0
    text = (own / "out/bound-tiny-transfer.md").read_text()
    assert "+11.00 ± 12.71 (n = 2)" in text  # t of one degree of freedom times 1
    assert "No gain at" not in text
    assert run(*wanted) == 0
    assert (own / "out/bound-tiny-transfer.md").read_text() == text, "the same numbers, the same bytes"
    assert page.measured(own / "out") == ["tiny-transfer"]


def test_of_several_methods_the_first_is_measured(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = ["--bound", "tiny-transfer.toml", "--leaderboard", "board", "--out", "out", "--source-images", "40"]
    assert run(*wanted, "--methods", "scratch,lwf", "--shots", "1", "--seeds", "1") == 0
    assert "measuring the first of 2 rows: scratch" in capsys.readouterr().err
    text = (own / "out/bound-tiny-transfer.md").read_text()
    assert "`scratch` is the baseline itself" in text
    assert "4 per class" not in text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--bound", "digits-fewshot"], "digits-fewshot is a distillation task"),
        (["--bound", "digits-noise"], "transfer tasks: cifar100-to-cifar10"),
        (["--bound", "digits-transfr"], "did you mean 'digits-transfer'"),
        (["--bound", "tiny-transfer.toml", "--shots", "few"], "'few' is not a number of images per class"),
        (["--bound", "tiny-transfer.toml", "--shots", "5000"], "5000 images per class are asked for"),
        (["--bound", "tiny-transfer.toml", "--seeds", "x"], "'x' is not a seed"),
        (["--bound", "tiny-transfer.toml", "--methods", "lwff"], "did you mean 'lwf"),
        (["--bound", "tiny-transfer.toml", "--methods", "distill"], "distill is not defined on transfer tasks"),
        (["--bound", "tiny-transfer.toml", "--source", "digits"], "names its source, digits"),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(own: Path, arguments: list[str], told: str) -> None:
    with pytest.raises(UserError) as raised:
        run(*arguments, "--leaderboard", "board", "--out", "out")
    assert told in str(raised.value)
    assert not list(own.rglob("*.safetensors"))


def test_a_set_of_one_size_is_held_against_the_targets_size(own: Path) -> None:
    from jkbench.papers.theory.bound_task import _more
    from jkbench.plugins.discovery import discover

    target = tasks.load("flowers-transfer")
    images, loaded = _more(discover(()).find("dataset", "digits"), target)
    assert images.size is None  # digits have no other
    assert loaded.size == (1, 8)


def test_options_that_do_not_go_together_are_refused(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, told in (
        (["theory", "--shots", "1"], "No such option"),
        (["theory", "--bound", "digits-transfer", "--quick"], "No such option"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
        assert told in capsys.readouterr().err
