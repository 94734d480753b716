"""A step as a program: recorded once for each size of batch, then replayed without its Python.

The first steps of each kind run as ever. The next two are watched (`jkbench.engine.tape`): where nothing in them waits,
copies between host and device, draws Python's random numbers or changes numbers of its own, and where both are the same
kernels on the same memory, the step is recorded. Any other step runs as ever, and `Programs.obstacle` says why.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import nn

from jkbench.engine.clock import Clock, ClockReads, WatchedClock
from jkbench.engine.tape import Obstacle, Tape
from jkbench.models.replay import same_draws

T = TypeVar("T")
WARM = 2
"""Steps before the first that is watched: buffers of optimisers and caches of signals are made in them."""


class Program(Protocol):
    """A step that can be run again."""

    def record(self, body: Callable[[], T]) -> T:
        """Run the step once, and keep it. RuntimeError where it cannot be kept; it has not run then."""

    def replay(self) -> None:
        """Run it again, on the same memory."""


class Recorder(Protocol):
    """What makes the programs of one training."""

    device: torch.device

    def lane(self) -> AbstractContextManager[Any]:
        """Where the training's steps run, beside those of others."""

    def make(self, generators: Sequence[torch.Generator]) -> Program:
        """An empty program, whose step may draw from these generators."""


class Graphs:
    """CUDA graphs on a stream of their own."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream = torch.cuda.Stream(device)
        self._stream.wait_stream(torch.cuda.current_stream(device))

    def lane(self) -> AbstractContextManager[Any]:
        """The stream."""
        return torch.cuda.stream(self._stream)

    def make(self, generators: Sequence[torch.Generator]) -> Program:
        """A CUDA graph, in a pool of memory of its own."""
        return _Graph(generators)


class _Graph:
    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self._graph = torch.cuda.CUDAGraph()
        for generator in generators:
            self._graph.register_generator_state(generator)

    def record(self, body: Callable[[], T]) -> T:
        """Capture the step, which runs nothing, and replay it once."""
        torch.cuda.synchronize()
        stream = torch.cuda.current_stream()
        with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
            result = body()
        self._graph.replay()
        return result

    def replay(self) -> None:
        """Launch the graph on the current stream."""
        self._graph.replay()


class Tapes:
    """Tapes: a CUDA graph's twin, on any device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def lane(self) -> AbstractContextManager[Any]:
        """Nowhere else."""
        return nullcontext()

    def make(self, generators: Sequence[torch.Generator]) -> Program:
        """An empty tape."""
        return Tape(self.device, [generator.initial_seed() for generator in generators])


RECORDERS: dict[str, Callable[[torch.device], Recorder]] = {"cuda": Graphs}
"""What records steps, by kind of device. On a CPU a step runs as ever: replaying one does not pay there."""


@dataclass
class _Kind(Generic[T]):
    """Steps that are one program: of one size of batch, and with the same choices by the progress of training."""

    reads: ClockReads
    warm: int = 1
    signature: list[Any] | None = None
    trusted: bool = False
    program: Program | None = None
    result: T | None = None


@dataclass
class Programs(Generic[T]):
    """The steps of one training, each kind recorded and replayed where that is possible.

    ``owners`` are the method and its modules, whose numbers in Python may not change. ``settle`` is called after a
    step that failed to be recorded.
    """

    recorder: Recorder
    generators: Sequence[torch.Generator] = ()
    owners: Sequence[object] = ()
    settle: Callable[[], None] = lambda: None
    obstacle: Obstacle | None = None
    replayed: int = 0
    _kinds: dict[int, list[_Kind[T]]] = field(default_factory=dict)

    def run(self, clock: Clock, size: int, body: Callable[[Clock], T]) -> T:
        """One step on a batch of this size: a replay, or ``body``."""
        if self.obstacle is not None:
            return body(clock)
        kinds = self._kinds.setdefault(size, [])
        known = next((kind for kind in kinds if kind.reads.same_at(clock.step)), None)
        if known is not None and known.program is not None and known.result is not None:
            known.program.replay()
            self.replayed += 1
            return known.result
        watched = WatchedClock(clock.step, clock.steps)
        if known is None:
            result = body(watched)
            if not watched.reads.computed:
                kinds.append(_Kind(watched.reads))
            return result
        if known.warm < WARM:
            known.warm += 1
            return body(watched)
        known.reads = watched.reads
        step = lambda: body(watched)  # noqa: E731
        return self._record(known, step) if known.trusted else self._watch(known, step)

    def release(self) -> None:
        """Free the recorded programs and their memory."""
        self._kinds.clear()

    def _watch(self, known: _Kind[T], step: Callable[[], T]) -> T:
        """A step as ever, compared with the one watched before it."""
        tape = Tape(self.recorder.device, [generator.initial_seed() for generator in self.generators])
        before = _numbers_of(self.owners)
        with tape, same_draws():
            result = step()
        signature = tape.signature()
        if tape.obstacles:
            self.obstacle = tape.obstacles[0]
        elif before != _numbers_of(self.owners):
            self.obstacle = Obstacle("it draws Python's random numbers, or counts steps itself")
        elif known.signature is not None and known.signature != signature:
            self.obstacle = _difference(known.signature, signature)
        known.trusted, known.signature = known.signature is not None, signature
        return result

    def _record(self, known: _Kind[T], step: Callable[[], T]) -> T:
        program = self.recorder.make(self.generators)
        try:
            with same_draws():
                known.result = program.record(step)
        except RuntimeError as error:
            self.settle()
            self.obstacle = Obstacle(f"it could not be captured: {str(error).splitlines()[0]}")
            return step()
        known.program, known.signature = program, None
        return known.result


def _difference(one: list[Any], other: list[Any]) -> Obstacle:
    rows = zip(one, other, strict=False)
    first = next((mine for mine, theirs in rows if mine != theirs), (f"{len(one)} and {len(other)} kernels",))
    return Obstacle(f"two steps of it are two programs, from {first[0]} on")


def _numbers_of(owners: Iterable[object]) -> tuple[Any, ...]:
    """Python's and NumPy's random states, and the numbers and words that the owners keep."""
    state = np.random.get_state()
    return random.getstate(), state[1].tobytes(), state[2], [_numbers(owner) for owner in owners]  # type: ignore[index]


def _numbers(value: object, depth: int = 4) -> Any:
    if isinstance(value, bool | int | float | str | None):
        return value
    if isinstance(value, dict) and depth:
        return {str(key): _numbers(each, depth - 1) for key, each in value.items()}
    if isinstance(value, list | tuple | set) and depth:
        return [_numbers(each, depth - 1) for each in value]
    if isinstance(value, torch.Tensor) or not hasattr(value, "__dict__") or not depth:
        return type(value).__name__
    hidden = ("_parameters", "_buffers") if isinstance(value, nn.Module) else ()
    return {name: _numbers(each, depth - 1) for name, each in vars(value).items() if name not in hidden}
