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
from torch import Tensor, nn

from jkbench import hashing
from jkbench.engine.augmentation import augmented
from jkbench.engine.images import ImageSet
from jkbench.engine.signals import Batch, SignalCache, Signals, SignalSettings, TeacherSignals
from jkbench.models.network import Network
from jkbench.plugins.method import Method
from jkbench.seeds import numpy_stream, seed_of
from jkbench.tasks.task import Training

CURVE_POINTS = 20


class Diverged(Exception):
    """The loss is no longer a finite number."""


class TimedOut(Exception):
    """The trial took longer than it was given."""


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
    """The positions of every batch of a training, from the stream ``order``.

    Every epoch is one permutation cut into equal parts of at most ``training.batch`` images (sizes differ by one),
    so that every image is seen once an epoch and no batch is a lone image.
    """
    stream = numpy_stream("order", seed)
    parts = math.ceil(images / training.batch)
    total = training.steps if training.steps is not None else (training.epochs or 0) * parts
    order: list[NDArray[np.int64]] = []
    while len(order) < total:
        order += np.array_split(stream.permutation(images), parts)
    return order[:total]


def optimiser(parameters: list[nn.Parameter], training: Training) -> torch.optim.Optimizer:
    """The optimiser that a training names."""
    common = {"lr": training.learning_rate, "weight_decay": training.weight_decay}
    if training.optimiser == "sgd":
        return torch.optim.SGD(parameters, momentum=training.momentum, **common)  # type: ignore[arg-type]
    kind = torch.optim.Adam if training.optimiser == "adam" else torch.optim.AdamW
    return kind(parameters, fused=True, **common)  # type: ignore[arg-type]


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
        """Median milliseconds a step, the first tenth (warm-up) apart."""
        kept = self.step_seconds[len(self.step_seconds) // 10 :]
        return float(np.median(kept)) * 1000 if kept else 0.0


class Loop:
    """A training under way: iterate for (batch, student's signals, teacher's signals), and `step` once for each.

    Raises `Diverged` at a non-finite loss and `TimedOut` after ``timeout`` seconds.
    """

    def __init__(
        self,
        images: ImageSet,
        student: Network,
        training: Training,
        setting: SignalSettings,
        seed: int,
        teacher: Network | None = None,
        cache: SignalCache | None = None,
        timeout: float | None = None,
    ) -> None:
        self.images = images
        self.student = student
        self.training = training
        self.seed = seed
        self.setting = setting
        self.teacher = teacher
        self.cache = cache
        self.timeout = timeout
        self.device = images.device
        self.order = batches(len(images), training, seed)
        self.noise = torch.Generator(self.device).manual_seed(seed_of("noise", seed))
        self.inputs: Callable[[Batch], Tensor] = lambda batch: batch.x
        self.modules: Mapping[str, nn.Module] = {}
        self.trace = Trace()
        self._optimiser: torch.optim.Optimizer | None = None
        self._parameters: list[nn.Parameter] = []
        self._at = 0
        self._stepped = True
        self._clocked = 0.0
        self._first = 0
        self._signals_before = 0.0
        self._student_signals: Signals | None = None

    @property
    def order_hash(self) -> str:
        """The hash of all batches, in order."""
        return hashing.of_bytes(*(part.astype("<i8").tobytes() + b"|" for part in self.order))

    @property
    def drop_step(self) -> int | None:
        """The step at which the learning rate drops."""
        at = self.training.drop_at
        if at is None or self.training.steps is not None:
            return at
        return at * (len(self.order) // (self.training.epochs or 1))

    def prepare(self, inputs: Callable[[Batch], Tensor], modules: Mapping[str, nn.Module]) -> None:
        """Take a method's inputs and modules, and build the optimiser over all that is trained."""
        self.inputs = inputs
        self.modules = modules
        trained: list[nn.Module] = [self.student, *modules.values()]
        self._parameters = [p for module in trained for p in module.parameters() if p.requires_grad]
        self._optimiser = optimiser(self._parameters, self.training)

    @property
    def trainable_parameters(self) -> int:
        """Numbers that are trained: student, heads and the method's modules."""
        return sum(parameter.numel() for parameter in self._parameters)

    def batch(self, step: int) -> Batch:
        """The images of one step."""
        index = torch.from_numpy(self.order[step]).to(self.device)
        x = self.images.read(index)
        if self.training.augment is not None:
            x = augmented(x, self.training.augment, torch.Generator().manual_seed(seed_of("augment", self.seed, step)))
        return Batch(x, self.images.labels[index], index, step, self.noise)

    def signals(self, batch: Batch) -> tuple[Signals, Signals | None]:
        """Student's and teacher's signals on what the method makes both networks see."""
        version = batch.x._version
        x = self.inputs(batch)
        # a method may also write into the images
        unchanged = x is batch.x and batch.x._version == version and self.training.augment is None
        # what a Jacobian pass can take again is kept until a step has shown that the loss takes none
        recorded = self._student_signals is None or self._student_signals.took_jacobian
        student = Signals(self.student, x, batch.y, self.setting, True, self.modules, recorded)
        self._student_signals = student
        if self.teacher is None:
            return student, None
        if unchanged and self.cache is not None:
            return student, TeacherSignals(self.teacher, batch, self.setting, self.cache)
        return student, Signals(self.teacher, x, batch.y, self.setting, False)

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[tuple[Batch, Signals, Signals | None]]:
        self.student.train()
        for module in self.modules.values():
            module.train()
        began = time.perf_counter()
        self._signals_before = 0.0 if self.cache is None else self.cache.seconds
        for step in range(self._first, len(self.order)):
            self._at = step
            self._stepped = False
            self._set_rate(step)
            batch = self.batch(step)
            yield batch, *self.signals(batch)
            if not self._stepped:
                raise RuntimeError("fit() left out loop.step() on a batch: the budget is one step a batch")
            self._clock(step, began)
        self.release()
        self.trace.seconds = time.perf_counter() - began

    def release(self) -> None:
        """Of the last step's graph and gradients, which nobody reads any more."""
        self._student_signals = None
        for parameter in self._parameters:
            parameter.grad = None

    @property
    def signals_seconds(self) -> float:
        """Spent on the teacher's signals since the loop began: no part of the training's time."""
        return 0.0 if self.cache is None else self.cache.seconds - self._signals_before

    def state(self) -> dict[str, Any]:
        """All that the next step depends on, after the present one: for going on in another process."""
        assert self._optimiser is not None
        return {
            "next": self._at + 1,
            "student": self.student.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "random": torch.get_rng_state(),
            "random_gpu": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
        }

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state` of the same training, after `prepare`."""
        assert self._optimiser is not None
        self.student.load_state_dict(state["student"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._first = int(state["next"])
        torch.set_rng_state(state["random"])  # last: nothing is drawn from it where the rest has failed
        if state["random_gpu"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["random_gpu"], self.device)

    def _set_rate(self, step: int) -> None:
        assert self._optimiser is not None
        dropped = self.drop_step is not None and step >= self.drop_step
        for group in self._optimiser.param_groups:
            group["lr"] = self.training.learning_rate * (self.training.drop_factor if dropped else 1.0)

    def _clock(self, step: int, began: float) -> None:
        now = time.perf_counter()
        if self.device.type == "cuda" and step % 20 and step + 1 < len(self.order):
            return
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            now = time.perf_counter()
        spent, steps = now - began, step + 1 - self._first - len(self.trace.step_seconds)
        self.trace.step_seconds += [(spent - self._clocked) / steps] * steps
        self._clocked = spent
        if self.timeout is not None and spent - self.signals_seconds > self.timeout:
            raise TimedOut(f"stopped after {spent:.0f} s, at step {step + 1} of {len(self.order)}")

    def unbudgeted_step(self, method: Method, step: int = 0) -> None:
        """One optimiser step on the batch of ``step`` outside the budget: for measuring what a step costs."""
        batch = self.batch(step)
        self._stepped = False
        self.step(method.loss(batch, *self.signals(batch)))

    def step(self, terms: Iterable[tuple[str, Tensor]]) -> None:
        """One optimiser step on the sum of the terms. Raises ValueError where there is no term or one is no scalar."""
        if self._stepped:
            raise RuntimeError("loop.step() was called twice on a batch: the budget is one step a batch")
        assert self._optimiser is not None
        named = list(terms)
        if not named:
            raise ValueError("the loss has no term: yield at least one (name, tensor)")
        for name, term in named:
            if not isinstance(term, Tensor) or term.ndim:
                shape = tuple(term.shape) if isinstance(term, Tensor) else type(term).__name__
                raise ValueError(f"loss term {name!r} is not a scalar tensor but {shape}")
        total = torch.stack([term for _, term in named]).sum()
        self._optimiser.zero_grad(set_to_none=True)
        # only the weights: the graph reaches the input too, whose gradient nobody reads
        torch.autograd.backward(total, inputs=self._parameters)
        self._optimiser.step()
        self._stepped = True
        self.trace.steps += 1
        self._note(named, total)

    def _note(self, named: list[tuple[str, Tensor]], total: Tensor) -> None:
        """Read the curves now and then, and look whether the loss is still finite (at every step on CPU)."""
        every = max(1, len(self.order) // CURVE_POINTS)
        reading = self._at % every == 0 or self._at == len(self.order) - 1
        if not reading and self.device.type == "cuda":
            return
        if not math.isfinite(total.item()):
            bad = [name for name, term in named if not math.isfinite(term.item())]
            raise Diverged(f"the loss is not finite at step {self._at + 1}: {', '.join(bad) or 'the sum of its terms'}")
        if reading:
            self.trace.curve_steps.append(self._at)
            for name, term in named:
                self.trace.curves.setdefault(name, []).append(float(f"{term.item():.6g}"))
