"""The one training loop: batches in an order that the seed alone decides, one optimiser step a batch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jkbench.engine import environment
from jkbench.engine.batches import Batches, Dial, Place, Places
from jkbench.engine.clock import Clock
from jkbench.engine.precision import products_in
from jkbench.engine.program import RECORDERS, Programs, Recorder
from jkbench.engine.signals import Batch, Signals
from jkbench.engine.step import TRAINING, Loss, Losses, Step
from jkbench.engine.tape import Obstacle
from jkbench.errors import Breach

CURVE_POINTS = 20
_RESUMED = ("curve_steps", "curves", "step_seconds", "steps", "replayed")
"""What a trace has of the steps before a checkpoint."""


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


@dataclass
class Trace:
    """What a training leaves behind beside its weights."""

    curve_steps: list[int] = field(default_factory=list)
    curves: dict[str, list[float]] = field(default_factory=dict)
    step_seconds: list[float] = field(default_factory=list)
    seconds: float = 0.0
    steps: int = 0
    replayed: int = 0
    """Of these steps, those that were replays of a recorded one."""
    obstacle: Obstacle | None = None
    """Why the others were not."""

    @property
    def step_ms(self) -> float:
        """Median milliseconds a step, without the first tenth (warm-up)."""
        steady = self.step_seconds[len(self.step_seconds) // 10 :]
        return float(np.median(steady)) * 1000 if steady else 0.0


class Loop:
    """A training: iterate for (batch, student's signals, teacher's signals), and `step` once for each.

    Or `train` with a loss: ``recorder`` makes the programs that its steps are recorded as, on CUDA by default
    (`jkbench.engine.program`). Raises `Diverged` at a non-finite loss and `TimedOut` after ``timeout`` seconds.
    """

    def __init__(
        self,
        batches: Batches,
        program: Step,
        timeout: float | None = None,
        recorder: Callable[[torch.device], Recorder] | None = None,
    ) -> None:
        self.batches = batches
        self.program = program
        self.timeout = timeout
        self.student, self.teacher = program.student, program.teacher
        self.noise = batches.noise
        self.device = batches.images.device
        self.trace = Trace()
        self.after_step: Callable[[Loop], None] = lambda loop: None
        self._recorder = recorder or RECORDERS.get(self.device.type)
        # a recorded step reads the rate where it was; only the CPU's own kernels take it as a number
        self._rate = None if self._recorder is None else Dial(self.device)
        self._total = None if self._recorder is None else torch.zeros((), device=self.device)
        self._at = 0
        self._stepped = True
        self._clocked = 0.0
        self._first = 0
        self._signals_before = 0.0

    def __len__(self) -> int:
        return len(self.batches)

    def batch(self, step: int) -> Batch:
        """The images of one step, and what the method shows both networks."""
        environment.beat()
        return self.program.show(self.batches[step])

    def signals(self, batch: Batch) -> tuple[Signals, Signals | None]:
        """Student's and teacher's signals on what the method shows both networks."""
        return self.program.signals(batch)

    def __iter__(self) -> Iterator[tuple[Batch, Signals, Signals | None]]:
        for step in self._steps():
            with products_in(self.program.setting.precision):
                batch = self.batch(step)
                yield batch, *self.signals(batch)

    def step(self, terms: Iterable[tuple[str, Tensor]]) -> None:
        """One optimiser step on the sum of the terms, once a batch. `Breach` at a second call, or at a wrong term."""
        if self._stepped:
            raise Breach(
                "fit", f"loop.step() was called twice on a batch, but the budget is one step per batch: {TRAINING}"
            )
        self._done(self.program.update(terms, self.rate(self._at)))

    def train(self, loss: Loss) -> None:
        """Every step with this loss; recorded and replayed on a device that gains by it, where the step can be."""
        if self.records:
            for _ in self.recorded(loss):
                pass
        else:
            for batch, student, teacher in self:
                self.step(loss(batch, student, teacher))

    @property
    def records(self) -> bool:
        """Whether this device gains by recorded steps."""
        return self._recorder is not None

    def recorded(self, loss: Loss) -> Iterator[None]:
        """Train with recorded steps, and yield after each: other trainings may run in turns with this one."""
        assert self._recorder is not None
        assert self._total is not None
        total, recorder, places = self._total, self._recorder(self.device), Places(self.batches)
        owners = [getattr(loss, "__self__", loss), *self.program.modules.values()]
        programs = Programs[Losses](recorder, [self.noise], owners, self.program.settle, replayed=self.trace.replayed)
        self.program.settle()
        for step in self._steps():
            environment.beat()
            with recorder.lane(), products_in(self.program.setting.precision):
                place, rate = places.filled(step), self.rate(step)

                def body(clock: Clock, place: Place = place, rate: float | Tensor = rate) -> Losses:
                    losses = self.program(loss, self.batches.at(place, clock), rate)
                    total.add_(losses.total)
                    self.program.settle()
                    return losses

                self._done(programs.run(Clock(step, len(self)), len(place.index), body))
            self.trace.replayed, self.trace.obstacle = programs.replayed, programs.obstacle
            yield

    def rate(self, step: int) -> float | Tensor:
        """The learning rate of one step: a number, or the memory that a recorded step reads it from."""
        rate = self.batches.rate(step)
        return rate if self._rate is None else self._rate.set(rate)

    def unbudgeted_step(self, loss: Loss, step: int = 0) -> None:
        """One optimiser step on the batch of ``step`` outside the budget: to measure what a step costs."""
        batch = self.batch(step)
        self.program.update(loss(batch, *self.signals(batch)), self.rate(step))

    def release(self) -> None:
        """Free the last step's graph and gradients."""
        self.program.release()

    @property
    def _signals_so_far(self) -> float:
        return 0.0 if self.program.cache is None else self.program.cache.seconds

    @property
    def signals_seconds(self) -> float:
        """Spent on the teacher's signals since the loop began: not part of the training's time."""
        return self._signals_so_far - self._signals_before

    def state(self) -> dict[str, Any]:
        """All that the next step depends on, and the trace up to here, so that another process can resume."""
        gpu = self.device.type == "cuda"
        if gpu:
            torch.cuda.synchronize(self.device)  # recorded steps run on a stream of their own
        return {
            "next": self._at + 1,
            "step": self.program.state(),
            "noise": self.noise.get_state(),
            "random": torch.get_rng_state(),
            "random_gpu": torch.cuda.get_rng_state(self.device) if gpu else None,
            "total": self._total,
            "seconds": self._clocked - self.signals_seconds,
            "trace": {name: getattr(self.trace, name) for name in _RESUMED},
        }

    def resume(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state` of the same training, whose tensors are on the host."""
        self.program.resume(state["step"])
        for name in _RESUMED:
            setattr(self.trace, name, state["trace"][name])
        self._first, self._clocked = state["next"], state["seconds"]
        if self._total is not None:
            self._total.copy_(state["total"])
        self.noise.set_state(state["noise"])
        torch.set_rng_state(state["random"])
        if state["random_gpu"] is not None:
            torch.cuda.set_rng_state(state["random_gpu"], self.device)

    def _steps(self) -> Iterator[int]:
        """The numbers of the steps of the budget; each is taken when the next is asked for."""
        for module in (self.student, *self.program.modules.values()):
            module.train()
        began = time.perf_counter() - self._clocked
        self._signals_before = self._signals_so_far
        for step in range(self._first, len(self)):
            self._at = step
            self._stepped = False
            yield step
            if not self._stepped:
                raise Breach(
                    "fit", f"fit() skipped loop.step() on a batch, but the budget is one step per batch: {TRAINING}"
                )
            self._clock(step, began)
            self.after_step(self)
        self.release()
        self.trace.seconds = time.perf_counter() - began

    def _clock(self, step: int, began: float) -> None:
        now = time.perf_counter()
        if self.device.type == "cuda" and step % 20 and step + 1 < len(self):
            return
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            now = time.perf_counter()
        spent, steps = now - began, step + 1 - len(self.trace.step_seconds)
        self.trace.step_seconds += [(spent - self._clocked) / steps] * steps
        self._clocked = spent
        if self.timeout is not None and spent - self.signals_seconds > self.timeout:
            raise TimedOut(f"stopped after {spent:.0f} s, at step {step + 1} of {len(self)}")

    def _done(self, losses: Losses) -> None:
        """A step was taken. Read the curves now and then; test (on CPU at every step) whether the loss is finite."""
        self._stepped = True
        self.trace.steps += 1
        every = max(1, len(self) // CURVE_POINTS)
        reading = self._at % every == 0 or self._at == len(self) - 1
        if not reading and self._recorder is not None:
            return
        seen = losses.total if self._total is None else self._total
        if not math.isfinite(seen.item()):
            bad = [name for name, value in losses.read().items() if not math.isfinite(value)]
            raise Diverged(f"the loss is not finite at step {self._at + 1}: {', '.join(bad) or 'the sum of its terms'}")
        if reading:
            self.trace.curve_steps.append(self._at)
            for name, value in losses.read().items():
                self.trace.curves.setdefault(name, []).append(float(f"{value:.6g}"))
