"""Several trials in one process, step by step in turns: on a GPU each on a stream of its own.

A trial has the bits that it has alone: its numbers are in memory of its own, and the state of torch's own random
generators is put back before each of its turns.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor

from jkbench.engine import environment
from jkbench.engine.setup import Where
from jkbench.engine.trial import steps
from jkbench.planning import Trial
from jkbench.records.schema import Record


class _Turns:
    """One trial, and the random states that it left behind."""

    def __init__(self, trial: Trial, where: Where) -> None:
        self._steps: Generator[None, None, Record] = steps(trial, where)
        self._device = where.device
        self._random = _random(where.device)

    def take(self) -> Record | None:
        """One step; the record after the last."""
        before = _random(self._device)
        _set_random(self._random, self._device)
        try:
            with environment.modes_kept():
                next(self._steps)
        except StopIteration as end:
            found: Record = end.value
            return found
        finally:
            self._random = _random(self._device)
            _set_random(before, self._device)
        return None


def run(trials: Sequence[Trial], where: Where, at_once: int) -> Iterator[Record]:
    """The records in the order in which the trials end, ``at_once`` of them under way at a time."""
    waiting = iter(trials)
    running = [_Turns(trial, where) for trial in islice(waiting, at_once)]
    while running:
        for each in list(running):
            record = each.take()
            if record is not None:
                running.remove(each)
                running += [_Turns(trial, where) for trial in islice(waiting, 1)]
                yield record


def _random(device: torch.device) -> list[Tensor]:
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def _set_random(states: Sequence[Tensor], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    for state in states[1:]:
        torch.cuda.set_rng_state(state, device)
