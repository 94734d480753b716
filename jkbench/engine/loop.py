"""The one training loop: batches in an order that the seed alone decides, one optimiser step a batch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jkbench import hashing
from jkbench.engine import environment
from jkbench.engine.augmentation import augmented
from jkbench.engine.images import ImageSet
from jkbench.engine.signals import Batch, Signals
from jkbench.engine.step import Loss, Step, Terms
from jkbench.seeds import numpy_stream, seed_of
from jkbench.tasks.task import Training

CURVE_POINTS = 20


class Diverged(Exception):
    """The loss is no longer a finite number."""


class TimedOut(Exception):
    """The trial took longer than its time limit."""


@dataclass(frozen=True)
class Start:
    """What a method may choose initial weights from."""

    state: Mapping[str, Tensor]
    """The seed's own weights, the same for every method."""
    _pretrained: Callable[[], Mapping[str, Tensor]]

    def pretrained(self) -> dict[str, Tensor]:
        """Weights of the same network trained on all that the teacher saw; heads that it lacks are the seed's own."""
        return {**self.state, **{name: value for name, value in self._pretrained().items() if name in self.state}}


def batches(images: int, training: Training, seed: int) -> list[NDArray[np.int64]]:
    """The index of every batch of a training, from the stream ``order``.

    Every epoch is one permutation cut into equal parts of at most ``training.batch`` images (sizes differ by one),
    so that every image is seen once an epoch and no batch is a lone image.
    """
    stream = numpy_stream("order", seed)
    parts = math.ceil(images / training.batch)
    total = training.length(images)
    order: list[NDArray[np.int64]] = []
    while len(order) < total:
        order += np.array_split(stream.permutation(images), parts)
    return order[:total]


class Batches:
    """The batches of a training, and what depends on the step alone: order, views, learning rate."""

    def __init__(self, images: ImageSet, training: Training, seed: int) -> None:
        self.images = images
        self.training = training
        self.seed = seed
        self.order = batches(len(images), training, seed)
        self.noise = torch.Generator(images.device).manual_seed(seed_of("noise", seed))
        index = torch.from_numpy(np.concatenate(self.order)).to(images.device)  # uploaded once
        self._index = index.split([len(part) for part in self.order])

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, step: int) -> Batch:
        """The images of one step."""
        index = self._index[step]
        x = self.images.read(index)
        if self.training.augment is not None:
            x = augmented(x, self.training.augment, torch.Generator().manual_seed(seed_of("augment", self.seed, step)))
        return Batch(x, self.images.labels[index], index, step, self.noise, len(self))

    def rate(self, step: int) -> float:
        """The learning rate of one step: it drops once."""
        drop = self.training.drop_at
        if drop is not None and self.training.steps is None:
            drop *= len(self) // (self.training.epochs or 1)
        dropped = drop is not None and step >= drop
        return self.training.learning_rate * (self.training.drop_factor if dropped else 1.0)

    @property
    def order_hash(self) -> str:
        """The hash of all batches, in order."""
        return hashing.of_bytes(*(part.astype("<i8").tobytes() + b"|" for part in self.order))


@dataclass
class Trace:
    """What a training leaves behind beside its weights."""

    curve_steps: list[int] = field(default_factory=list)
    curves: dict[str, list[float]] = field(default_factory=dict)
    step_seconds: list[float] = field(default_factory=list)
    seconds: float = 0.0
    steps: int = 0

    @property
    def step_ms(self) -> float:
        """Median milliseconds a step, without the first tenth (warm-up)."""
        steady = self.step_seconds[len(self.step_seconds) // 10 :]
        return float(np.median(steady)) * 1000 if steady else 0.0


class Loop:
    """A training: iterate for (batch, student's signals, teacher's signals), and `step` once for each.

    Raises `Diverged` at a non-finite loss and `TimedOut` after ``timeout`` seconds.
    """

    def __init__(self, batches: Batches, program: Step, timeout: float | None = None) -> None:
        self.batches = batches
        self.program = program
        self.timeout = timeout
        self.student, self.teacher = program.student, program.teacher
        self.noise = batches.noise
        self.device = batches.images.device
        self.trace = Trace()
        self._at = 0
        self._stepped = True
        self._clocked = 0.0
        self._first = 0
        self._signals_before = 0.0
        self._student_signals: Signals | None = None

    def __len__(self) -> int:
        return len(self.batches)

    def batch(self, step: int) -> Batch:
        """The images of one step, and what the method shows both networks."""
        environment.beat()
        return self.program.show(self.batches[step])

    def signals(self, batch: Batch) -> tuple[Signals, Signals | None]:
        """Student's and teacher's signals on what the method shows both networks."""
        # what a Jacobian pass can reuse is recorded until a step has shown that the loss takes none
        record = self._student_signals is None or self._student_signals.took_jacobian
        student, teacher = self.program.signals(batch, record)
        self._student_signals = student
        return student, teacher

    def __iter__(self) -> Iterator[tuple[Batch, Signals, Signals | None]]:
        for module in (self.student, *self.program.modules.values()):
            module.train()
        began = time.perf_counter()
        self._signals_before = self._signals_so_far
        for step in range(self._first, len(self)):
            self._at = step
            self._stepped = False
            batch = self.batch(step)
            yield batch, *self.signals(batch)
            if not self._stepped:
                raise RuntimeError("fit() left out loop.step() on a batch: the budget is one step a batch")
            self._clock(step, began)
        self.release()
        self.trace.seconds = time.perf_counter() - began

    def step(self, terms: Iterable[tuple[str, Tensor]]) -> None:
        """One optimiser step on the sum of the terms. ValueError where there is no term, or one is not a scalar."""
        if self._stepped:
            raise RuntimeError("loop.step() was called twice on a batch: the budget is one step a batch")
        found = self.program.update(terms, self.batches.rate(self._at))
        self._stepped = True
        self.trace.steps += 1
        self._note(found)

    def unbudgeted_step(self, loss: Loss, step: int = 0) -> None:
        """One optimiser step on the batch of ``step`` outside the budget: to measure what a step costs."""
        batch = self.batch(step)
        self.program.update(loss(batch, *self.signals(batch)), self.batches.rate(step))

    def release(self) -> None:
        """Free the last step's graph and gradients."""
        self._student_signals = None
        self.program.release()

    @property
    def _signals_so_far(self) -> float:
        return 0.0 if self.program.cache is None else self.program.cache.seconds

    @property
    def signals_seconds(self) -> float:
        """Spent on the teacher's signals since the loop began: not part of the training's time."""
        return self._signals_so_far - self._signals_before

    def state(self) -> dict[str, Any]:
        """All that the next step depends on, so that another process can resume."""
        return {
            "next": self._at + 1,
            "student": self.student.state_dict(),
            "optimiser": self.program.optimiser.state_dict(),
            "random": torch.get_rng_state(),
            "random_gpu": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
        }

    def resume(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state` of the same training."""
        self.student.load_state_dict(state["student"])
        self.program.optimiser.load_state_dict(state["optimiser"])
        self._first = int(state["next"])
        torch.set_rng_state(state["random"])  # last: nothing is drawn where the rest has failed
        if state["random_gpu"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["random_gpu"], self.device)

    def _clock(self, step: int, began: float) -> None:
        now = time.perf_counter()
        if self.device.type == "cuda" and step % 20 and step + 1 < len(self):
            return
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            now = time.perf_counter()
        spent, steps = now - began, step + 1 - self._first - len(self.trace.step_seconds)
        self.trace.step_seconds += [(spent - self._clocked) / steps] * steps
        self._clocked = spent
        if self.timeout is not None and spent - self.signals_seconds > self.timeout:
            raise TimedOut(f"stopped after {spent:.0f} s, at step {step + 1} of {len(self)}")

    def _note(self, terms: Terms) -> None:
        """Read the curves now and then, and test whether the loss is finite (at every step on CPU)."""
        every = max(1, len(self) // CURVE_POINTS)
        reading = self._at % every == 0 or self._at == len(self) - 1
        if not reading and self.device.type == "cuda":
            return
        if not math.isfinite(torch.stack([term for _, term in terms]).sum().item()):
            bad = [name for name, term in terms if not math.isfinite(term.item())]
            raise Diverged(f"the loss is not finite at step {self._at + 1}: {', '.join(bad) or 'the sum of its terms'}")
        if reading:
            self.trace.curve_steps.append(self._at)
            for name, term in terms:
                self.trace.curves.setdefault(name, []).append(float(f"{term.item():.6g}"))
