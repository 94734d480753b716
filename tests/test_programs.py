"""A step as a program, proved on a CPU: on a make-believe GPU, recorded by a CUDA graph's twin, it has the CPU's bits.

The rates are powers of two, so that float32 and a double hold the same number.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import small
import torch
from torch import Tensor, nn

from jkbench import cross_entropy
from jkbench.engine import images as image_sets
from jkbench.engine import loop as loops
from jkbench.engine import pretend
from jkbench.engine.clock import Clock, WatchedClock
from jkbench.engine.loop import Diverged, Loop
from jkbench.engine.program import Tapes
from jkbench.engine.setup import Ready, Where, make_ready, trained_networks
from jkbench.engine.trial import facts, train_and_score
from jkbench.models.network import Network, seeded
from jkbench.plugins.discovery import Index, discover
from jkbench.tasks.task import Augmentation

RATE = {"learning_rate": 2**-10, "drop_factor": 2**-3}
SHORT = {**RATE, "steps": 9, "drop_at": 7, "batch": 10}
TWO_SIZES = {**RATE, "steps": 20, "drop_at": 17, "batch": 7}
"""Batches of 7, 7 and 6 images: both sizes are recorded before the rate drops."""
METHODS = sorted(discover(working=small.ROOT).methods())
ESTIMATORS = [
    "jacobian[rows=projection]", "jacobian[rows=forward]", "jacobian[rows=differences]", "jacobian[rows=full]",
    "jacobian[rows=top]", "jacobian[normalise=true]", "e2kd[by=gradient]", "crd[negatives=3]", "dkd[warmup=0]",
]  # fmt: skip
recorded = partial(Loop, recorder=Tapes)


def ready(
    index: Index, folder: Path, name: str, device: torch.device = small.CPU, kind: str = "distillation", seed: int = 0,
    **student: Any,
) -> Ready:  # fmt: skip
    """A trial before its first step; on the make-believe GPU, and for `recorded` training, with tapes."""
    made = small.trial(index, name, kind, seed, **student)
    data = image_sets.of_task(made.task, made.datasets)
    trained = trained_networks(made, Where(device, folder), data)
    return make_ready(made, device, data, trained, kind=recorded if device.type == "cuda" else Loop)


def twin(index: Index, folder: Path, name: str, seed: int = 0, **student: Any) -> Ready:
    """A trial on the CPU whose steps are recorded."""
    made = small.trial(index, name, seed=seed, **student)
    data = image_sets.of_task(made.task, made.datasets)
    return make_ready(made, small.CPU, data, trained_networks(made, small.where(folder), data), kind=recorded)


def weights(network: Network) -> dict[str, Tensor]:
    return {name: pretend.held(value) for name, value in network.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def proved(index: Index, folder: Path, name: str, **student: Any) -> None:
    """A whole training of ``name`` on the make-believe GPU: bits, replays, and no wait in a steady step."""
    plain = ready(index, folder, name, **student)
    plain.method.fit(plain.loop)
    with pretend.gpu() as watch:
        made = ready(index, folder, name, pretend.CUDA, **student)
        for step, _ in enumerate(made.loop.recorded(made.method.loss)):
            if 2 <= step < len(made.loop) - 1:  # in the first two, the teacher's signals are computed
                assert watch.waits == []
            watch.clear()
        found = weights(made.student)
    trace = made.loop.trace
    sizes = {len(part) for part in made.loop.batches.order}
    assert trace.obstacle is None
    assert trace.replayed >= len(made.loop) - 5 * len(sizes) - (name == "dkd") > 0
    assert same(found, weights(plain.student))
    assert trace.curves["ce" if "ce" in trace.curves else "kd"][0] > 0


@pytest.mark.parametrize(("name", "most"), [("distill", 60), ("jacobian", 145), ("attention-jacobian", 249)])
def test_a_step_launches_few_kernels(index: Index, references: Path, name: str, most: int) -> None:
    """With the networks of digits-fewshot, three layers matched; readings of curves are among them."""
    made = small.trial(index, name, **SHORT)
    networks = {}
    for role, architecture in [("student", "vgg:16-M-32-M-32"), ("teacher", "vgg:32-32-M-64-64-M-128")]:
        networks[role] = getattr(made.task, role).model_copy(update={"architecture": architecture})
    made = replace(made, task=made.task.model_copy(update=networks))
    with pretend.gpu() as watch:
        data = image_sets.of_task(made.task, made.datasets)
        trained = trained_networks(made, Where(pretend.CUDA, references), data)
        loop = (ready := make_ready(made, pretend.CUDA, data, trained, kind=recorded)).loop
        launched = []
        for batch, own, teacher in loop:
            loop.step(ready.method.loss(batch, own, teacher))
            launched.append(sum(watch.launches.values()))
            watch.clear()
    assert 30 < max(launched[2:]) <= most


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Curves are read at the first and the last step alone."""
    monkeypatch.setattr(loops, "CURVE_POINTS", 1)


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize("name", [*METHODS, *ESTIMATORS])
def test_a_recorded_step_waits_for_nothing_and_has_the_cpus_bits(index: Index, references: Path, name: str) -> None:
    proved(index, references, name, **SHORT)


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("noise", {}),
        ("jacobian", {"augment": Augmentation(flip=True, shift=1), "optimiser": "adamw", "weight_decay": 2**-5}),
        ("distill", {"augment": Augmentation(zoom=(0.5, 1.0))}),
    ],
)
def test_so_do_two_sizes_of_batch_views_and_noise(
    index: Index, references: Path, name: str, more: dict[str, Any]
) -> None:
    proved(index, references, name, **TWO_SIZES, **more)


@pytest.mark.parametrize(
    ("name", "kind", "more"),
    [
        ("attention-jacobian", "transfer", {}),
        ("noise", "robustness", {"augment": Augmentation(flip=True, shift=1)}),
        ("lwf-jacobian", "transfer", {"augment": Augmentation(zoom=(0.5, 1.0))}),
    ],
)
def test_a_whole_trial_has_the_cpus_metrics(
    index: Index, references: Path, name: str, kind: str, more: dict[str, Any]
) -> None:
    on_cpu, _ = train_and_score(ready(index, references, name, kind=kind, **SHORT, **more))
    with pretend.gpu():
        made = ready(index, references, name, pretend.CUDA, kind, **SHORT, **more)
        on_gpu, _ = train_and_score(made)
        cost = facts(made, Where(pretend.CUDA, references))["cost"]
    assert on_gpu == on_cpu
    assert cost.replayed == 4
    assert cost.obstacle is None


def test_trials_in_turns_have_the_bits_of_each_alone(index: Index, references: Path) -> None:
    wanted = [("jacobian", 0), ("jacobian", 1), ("noise", 2), ("crd", 3)]
    alone, turns = ([twin(index, references, *each, **SHORT) for each in wanted] for _ in range(2))
    for each in alone:
        each.loop.train(each.method.loss)
    for _ in zip(*(each.loop.recorded(each.method.loss) for each in turns), strict=True):
        pass
    for one, other in zip(alone, turns, strict=True):
        assert other.loop.trace.replayed == 4
        assert same(weights(one.student), weights(other.student))


def test_sgd_steps_are_recorded_too(index: Index, references: Path) -> None:
    """Torch's fused SGD rounds otherwise than the CPU's own: compared with the fused one, step by step."""
    found = []
    with pretend.gpu():
        for eager in (True, False):
            made = ready(index, references, "distill", pretend.CUDA, **SHORT, optimiser="sgd", weight_decay=2**-5)
            if eager:
                for batch, student, teacher in made.loop:
                    made.loop.step(made.method.loss(batch, student, teacher))
            else:
                made.loop.train(made.method.loss)
                assert made.loop.trace.replayed == 4
            found.append(weights(made.student))
    assert same(*found)


def test_a_network_that_draws_draws_anew_at_each_replay(index: Index, references: Path) -> None:
    found = []
    for make in (ready, twin):
        made = make(index, references, "jacobian", **SHORT)
        made.student.head = nn.Sequential(nn.Dropout(0.5), made.student.head)
        with seeded("layers", 0):
            made.loop.train(made.method.loss)
        found.append(weights(made.student))
    assert made.loop.trace.replayed == 4
    assert same(*found)


def test_a_rate_that_is_a_number_stays_what_it_was_recorded_as(
    index: Index, references: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A control: the comparison of bits sees a rate that is not read from memory."""
    plain = ready(index, references, "distill", **SHORT)
    plain.method.fit(plain.loop)
    made = twin(index, references, "distill", **SHORT)
    monkeypatch.setattr(made.loop, "rate", made.loop.batches.rate)
    made.loop.train(made.method.loss)
    assert made.loop.trace.replayed == 4
    assert not same(weights(plain.student), weights(made.student))


def host_draw(batch, student, teacher):
    yield "x", (student.logits * torch.randn(len(batch.y), 1)).sum()


def other_generator(batch, student, teacher):
    yield "x", (student.logits * torch.randn(len(batch.y), 1, device=batch.x.device, generator=torch.Generator())).sum()


def numpy(batch, student, teacher):
    yield "x", student.logits.sum() * float(batch.y.numpy().sum())


def host_value(batch, student, teacher):
    yield "x", student.logits.sum() * student.logits.mean().item()


def branch(batch, student, teacher):
    yield "x", student.logits.sum() if (student.logits > 0).any() else student.logits.mean()


def mask(batch, student, teacher):
    yield "x", student.logits[batch.y > 2].sum()


def to_host(batch, student, teacher):
    yield "x", student.logits.sum() * batch.y.cpu().sum()


def host_table(batch, student, teacher):
    yield "x", (student.logits * torch.arange(5.0).to(batch.x.device)).sum()


def host_index(batch, student, teacher):
    yield "x", student.logits[torch.arange(3)].sum()


@pytest.mark.parametrize(
    ("loss", "why"),
    [
        (host_value, "the host waits for _local_scalar_dense"),
        (branch, "the host waits for"),
        (mask, "the host waits for how many a mask selects"),
        (to_host, "a copy from cuda to cpu"),
        (host_table, "a copy from cpu to cuda"),
        (host_index, "a copy of an index to cuda"),
    ],
)
def test_a_step_that_waits_for_the_gpu_is_named_and_not_recorded(
    index: Index, references: Path, loss: Any, why: str
) -> None:
    with pretend.gpu():
        made = ready(index, references, "distill", pretend.CUDA, **SHORT)
        made.loop.train(loss)
    obstacle = made.loop.trace.obstacle
    assert obstacle is not None
    assert why in obstacle.why
    assert obstacle.at == f"test_programs.py:{loss.__code__.co_firstlineno + 1}"
    assert made.loop.trace.replayed == 0
    assert made.loop.trace.steps == 9


@pytest.mark.parametrize("loss", [host_draw, other_generator, numpy])
def test_a_step_that_mixes_devices_is_refused(index: Index, references: Path, loss: Any) -> None:
    with pretend.gpu():
        made = ready(index, references, "distill", pretend.CUDA, **SHORT)
        with pytest.raises((pretend.Mismatch, TypeError)):
            made.loop.train(loss)


class Counting:
    """A method that counts its own steps."""

    def __init__(self) -> None:
        self.seen = 0

    def loss(self, batch: Any, student: Any, teacher: Any) -> Iterator[tuple[str, Tensor]]:
        self.seen += 1
        yield "ce", cross_entropy(student.logits, batch.y) * (2 if self.seen > 6 else 1)


def numbered(batch, student, teacher):
    yield "ce", cross_entropy(student.logits, batch.y) * (1 + batch.step / 100)


def ramped(batch, student, teacher):
    yield "ce", torch.mul(cross_entropy(student.logits, batch.y), batch.progress)


def lucky(batch, student, teacher):
    yield "ce", cross_entropy(student.logits, batch.y) * (2 if random.random() > 0.5 else 1)


@pytest.mark.parametrize(
    ("loss", "why"),
    [
        (numbered, ""),
        (ramped, "two steps of it are two programs"),
        (lucky, "Python's random numbers"),
        (Counting().loss, "counts steps itself"),
    ],
)
def test_a_step_with_a_hidden_input_runs_as_ever(index: Index, references: Path, loss: Any, why: str) -> None:
    random.seed(0)
    plain = ready(index, references, "distill", **SHORT)
    plain.loop.train(loss)
    random.seed(0)
    if loss is not numbered:
        getattr(loss, "__self__", Counting()).seen = 0
    made = twin(index, references, "distill", **SHORT)
    made.loop.train(loss)
    assert made.loop.trace.replayed == 0
    assert why in str(made.loop.trace.obstacle)
    assert same(weights(plain.student), weights(made.student))


def staged(batch, student, teacher):
    yield "ce", cross_entropy(student.logits, batch.y)
    if batch.progress > 0.5:
        yield "act", (student.teacher_logits - teacher.teacher_logits).square().mean()


def test_a_stage_of_training_is_a_program_of_its_own(index: Index, references: Path) -> None:
    found = []
    for make in (ready, twin):
        made = make(index, references, "distill", **{**SHORT, "steps": 16, "drop_at": 14})
        made.loop.train(staged)
        found.append(weights(made.student))
    assert made.loop.trace.replayed == 16 - 2 * 5
    assert same(*found)


def test_progress_knows_where_a_choice_would_change() -> None:
    def at(step: int) -> WatchedClock:
        return WatchedClock(step, 100)

    early, late, used = at(0), at(60), at(0)
    assert min(early.progress / 0.5, 1.0) == 0.02
    assert not early.reads.computed
    assert min(late.progress / 0.5, 1.0) == 1.0
    assert late.reads.same_at(99)
    assert late.reads.same_at(50)
    assert not late.reads.same_at(49)
    assert used.progress * torch.ones(()) == Clock(0, 100).progress
    assert used.reads.computed
    assert not used.reads.same_at(0)


def test_a_loss_that_is_not_finite_is_found_where_the_curves_are_read(index: Index, references: Path) -> None:
    made = twin(index, references, "distill", **{**SHORT, "steps": 60, "drop_at": 50})

    def broken(batch: Any, student: Any, teacher: Any) -> Iterator[tuple[str, Tensor]]:
        yield "ce", cross_entropy(student.logits, batch.y) * (float("inf") if batch.progress > 0.7 else 1.0)

    with pytest.raises(Diverged, match="the loss is not finite at step 43: ce"):
        made.loop.train(broken)
    assert made.loop.trace.replayed > 30


def test_nothing_make_believe_lives_on() -> None:
    with pretend.gpu():
        made = torch.ones(2, device="cuda")
    assert not torch.cuda.is_available() or torch.cuda.device_count()
    with pytest.raises(RuntimeError, match="outlived its device"):
        made + 1
