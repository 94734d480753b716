"""What a step of each method costs, and how far it is from what the machine can do.

Operations and bytes of one step are counted as its kernels run (by the formulas of `torch.utils.flop_counter`, whose
own context does not live with `autograd.grad`); the machine's ceilings are measured with a large matrix product (or
convolution, where that is faster) and a large copy, on the same device with the same threads. The floor of a step is
the larger of operations over the product's rate and bytes over the copy's; its share of the ceiling is floor over
measured time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, count
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from jkbench.engine import environment
from jkbench.engine import images as image_sets
from jkbench.engine import teacher as networks
from jkbench.engine.batches import ordered
from jkbench.engine.first_loss import chosen_images, ready_on
from jkbench.engine.images import LoadedDataset, TaskData
from jkbench.engine.loop import Loop
from jkbench.engine.program import RECORDERS
from jkbench.engine.setup import Ready, Where, make_ready, trained_networks
from jkbench.engine.signal_store import Positions
from jkbench.engine.signals import Batch, Signals
from jkbench.engine.step import Step
from jkbench.maths import cross_entropy
from jkbench.models.network import Network, seeded
from jkbench.planning import Trial
from jkbench.plugins.method import Method
from jkbench.records.teachers import Recipe

WARM_UP = 10
STEPS = 40
FEW, LONGEST, PART = 5, 0.5, 16
"""Steps that an estimate rests on; the seconds after which it does with fewer, and with a part of the images."""


@dataclass(frozen=True)
class Ceilings:
    """What the device reaches: operations a second in a matrix product, bytes a second in a copy (read and written)."""

    operations: float
    bytes: float


@dataclass(frozen=True)
class StepCost:
    """One method's step: medians over steps after warm-up."""

    label: str
    milliseconds: float
    images_per_second: float
    operations: float
    bytes: float
    step_memory_mb: float
    """MiB at its peak beyond what was there before: networks, images and optimiser apart."""
    floor_milliseconds: float
    answer_microseconds: float
    """An image through the deployed network, in evaluation, in batches as in training."""
    obstacle: str = ""
    """Why its steps are not replayed, on a device where steps are."""

    @property
    def share(self) -> float:
        """Of the ceiling: 1 is a step as fast as the machine allows."""
        return self.floor_milliseconds / self.milliseconds


def _convolution_backward(
    grad_out: Tensor, x: Tensor, weight: Tensor, _sizes: Any, _stride: Any, _padding: Any, _dilation: Any,
    transposed: bool, _output_padding: Any, _groups: int, wanted: list[bool], **_: Any,
) -> int:  # fmt: skip
    """Multiplications and additions of a convolution's gradients by input and weight: each those of the forward pass.

    Torch's own count takes every convolution's weight gradient for one without groups.
    """
    places = x if transposed else grad_out
    one = 2 * places[:, 0].numel() * weight.numel()
    return one * sum(wanted[:2])


_FORMULAS: dict[Any, Callable[..., int]] = {torch.ops.aten.convolution_backward: _convolution_backward}


class _Counter(TorchDispatchMode):
    """Adds up operations, and the bytes of the operands and results of every kernel; views move nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        formula = _FORMULAS.get(func._overloadpacket) or flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.operations += formula(*args, **(kwargs or {}), out_val=out)
        if not func.is_view:
            self.bytes += sum(tensor.nbytes for tensor in _tensors([args, kwargs or {}, out]))
        return out


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


def _seconds(run: Callable[[], object], device: torch.device, repeats: int) -> list[float]:
    """Seconds of each run: device events on CUDA, the clock on CPU."""
    found = []
    for _ in range(repeats):
        if device.type == "cuda":
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            run()
            end.record()
            torch.cuda.synchronize(device)
            found.append(start.elapsed_time(end) / 1000)
        else:
            began = time.perf_counter()
            run()
            found.append(time.perf_counter() - began)
    return found


def ceilings(device: torch.device) -> Ceilings:
    """Measured on the device as it is now, the best of several: operations a second in a large matrix product or a
    large convolution (on CPU they are of different libraries, and the convolution's may be the faster), bytes a second
    in a copy of 256 MiB."""
    size, images = (8192, 512) if device.type == "cuda" else (1024, 32)
    # random numbers: on zeros and ones a GPU takes less power, and so runs at a higher clock
    a, b = (torch.randn(size, size, device=device) for _ in range(2))
    x = torch.randn(images, 256, 18, 18, device=device).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(256, 256, 3, 3, device=device).contiguous(memory_format=torch.channels_last)
    source = torch.randn(2**26, device=device)
    target = torch.empty_like(source)
    with torch.no_grad():
        product = min(_seconds(lambda: torch.mm(a, b), device, 8)[2:])
        convolution = min(_seconds(lambda: torch.conv2d(x, weight), device, 8)[2:])
    copy = min(_seconds(lambda: target.copy_(source), device, 8)[2:])
    convolved = 2 * images * 16 * 16 * 256 * 256 * 9
    return Ceilings(max(2 * size**3 / product, convolved / convolution), 2 * source.nbytes / copy)


class _CrossEntropy(Method):
    """The plain step that the others are counted in."""

    def loss(self, batch: Batch, student: Signals, teacher: Signals | None) -> Iterator[tuple[str, Tensor]]:
        yield "ce", cross_entropy(student.logits, batch.y)


def profile(trials: Sequence[Trial], where: Where) -> tuple[Ceilings, list[StepCost]]:
    """The cost of a plain cross-entropy step, then of each trial's method, on that trial's images and networks.

    The steps of all are taken in turns, so that what else the machine does falls on all alike.
    """
    environment.prepare(where.device)
    limits = ceilings(where.device)
    plain = _ready(trials[0], where).loop
    plainest = Step(plain.student, trials[0].task.student.training, plain.program.setting)
    named: list[tuple[str, Loop, Method]] = [("cross-entropy", Loop(plain.batches, plainest), _CrossEntropy())]
    answers = [_answer_seconds(plain.student, plain)]
    for trial in trials:
        ready = _ready(trial, where)
        named.append((trial.row.label, ready.loop, ready.method))
        answers.append(_answer_seconds(ready.deployed, ready.loop))
    counted = [count_kernels(loop, method) for _, loop, method in named]
    times: list[list[float]] = [[] for _ in named]
    steps = [_stepping(loop, method) for _, loop, method in named]
    for _ in range(WARM_UP + STEPS):
        for taken, step in zip(times, steps, strict=True):
            taken += _seconds(step, where.device, 1)
    costs = []
    for _, loop, _ in named:
        loop.release()
    for (label, loop, method), (operations, moved), taken, answer in zip(named, counted, times, answers, strict=True):
        environment.trim()
        environment.reset_peak_memory(where.device)
        before = environment.peak_memory_mb(where.device)
        loop.unbudgeted_step(method.loss)
        peak = environment.peak_memory_mb(where.device)
        loop.release()
        median = statistics.median(taken[WARM_UP:])
        costs.append(
            StepCost(
                label=label,
                milliseconds=1000 * median,
                images_per_second=len(loop.batches.order[0]) / median,
                operations=operations,
                bytes=moved,
                step_memory_mb=peak - before,
                floor_milliseconds=1000 * max(operations / limits.operations, moved / limits.bytes),
                answer_microseconds=1e6 * answer,
                obstacle=str(loop.trace.obstacle or ""),
            )
        )
    return limits, costs


def _answer_seconds(network: Network, loop: Loop) -> float:
    """Seconds that a network takes for an image in evaluation: of the fastest batch, which other load moves least."""
    x, mode = loop.batch(0).x, network.training
    network.eval()
    with torch.no_grad():
        taken = _seconds(lambda: network(x), loop.device, WARM_UP + STEPS)[WARM_UP:]
    network.train(mode)
    return min(taken) / len(x)


def _stepping(loop: Loop, method: Method) -> Callable[[], object]:
    """Takes the next step as a trial on this device does."""
    if loop.device.type not in RECORDERS or type(method).fit is not Method.fit:
        return partial(loop.unbudgeted_step, method.loss)
    return partial(next, chain.from_iterable(loop.recorded(method.loss) for _ in count()))


def expected_seconds(trials: Sequence[Trial], data: TaskData, device: torch.device) -> list[float]:
    """Seconds that the training of each trial would take here, of one method, by a few steps with untrained networks.

    The teacher's signals on all images, which trials share, are not in it.
    """
    environment.prepare(device)
    found, timed = [], dict[tuple[str, int], float]()
    for trial in trials:
        images = chosen_images(trial, data)
        first = images[ordered(len(images), trial.training, trial.seed)[0]]

        def on(count: int, trial: Trial = trial, first: Positions = first) -> float:
            if (trial.row.label, count) not in timed:
                with environment.modes_kept(), seeded("estimate"):
                    ready = ready_on(trial, data, first[:count], device)
                    timed[trial.row.label, count] = _few(_stepping(ready.loop, ready.method), device)
                    ready.loop.release()
            return timed[trial.row.label, count]

        found.append(_scaled(on, len(first)) * trial.training.length(len(images)))
    return found


def expected_training(recipe: Recipe, data: LoadedDataset, device: torch.device) -> float:
    """Seconds that the training of a reference network would take here, by a few of its steps."""
    assert recipe.training is not None
    environment.prepare(device)
    train = data.splits["train"]
    first = ordered(len(train), recipe.training, recipe.seed)[0]

    def on(count: int) -> float:
        few = replace(data, splits={**data.splits, "train": train.take(first[:count])})
        loop = networks.untrained_loop(recipe, few, device)
        return _few(partial(loop.unbudgeted_step, _CrossEntropy().loss), device)

    return _scaled(on, len(first)) * recipe.training.length(len(train))


def _scaled(seconds: Callable[[int], float], images: int) -> float:
    """Seconds of a step on so many images. A slow one is timed on a part of them: the time is then that of images."""
    part = min(images, PART)
    found = seconds(part)
    return seconds(images) if part < images and found < LONGEST else found * images / part


def _few(step: Callable[[], object], device: torch.device) -> float:
    """Median seconds of a step after warm-up, which is longer where steps are recorded."""
    _seconds(step, device, WARM_UP if device.type in RECORDERS else 1)
    taken: list[float] = []
    while len(taken) < FEW and sum(taken) < LONGEST:
        taken += _seconds(step, device, 1)
    return statistics.median(taken)


def _ready(trial: Trial, where: Where) -> Ready:
    data = image_sets.of_task(trial.task, trial.datasets)
    return make_ready(trial, where.device, data, trained_networks(trial, where, data))


def count_kernels(loop: Loop, method: Method) -> tuple[float, float]:
    """Operations and bytes of one step, with the teacher's signals cached."""
    loop.unbudgeted_step(method.loss)
    with _Counter() as counter:
        loop.unbudgeted_step(method.loss)
    return float(counter.operations), float(counter.bytes)
