"""Several trials in one process, step by step in turns: on a GPU each on a stream of its own.

A trial has the bits that it has alone: its numbers are in memory of its own, and the state of torch's own random
generators is put back before each of its turns. How many run at a time changes none of them, so that may follow the
memory that is free.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence

import torch
from torch import Tensor

from jkbench.engine import environment
from jkbench.engine.setup import Where
from jkbench.engine.trial import steps
from jkbench.planning import Trial
from jkbench.records.schema import Record

SETTLED = 20
"""Turns after which a trial has taken its memory: its steps are recorded by then."""


class _Turns:
    """One trial, and the random states that it left behind."""

    def __init__(self, trial: Trial, where: Where) -> None:
        self._steps: Generator[None, None, Record] = steps(trial, where)
        self._device = where.device
        self._random = _random(where.device)
        self.taken = 0

    def take(self) -> Record | None:
        """One step; the record after the last."""
        self.taken += 1
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


def run(
    trials: Sequence[Trial], where: Where, at_once: int, room: Callable[[int], bool] = lambda count: True
) -> Iterator[Record]:
    """The records in the order in which the trials end, at most ``at_once`` of them under way at a time.

    Beside others a trial begins only where there is ``room`` for it and for those that have not taken their memory yet.
    """
    waiting, running = list(trials), list[_Turns]()
    while waiting or running:
        while waiting and len(running) < at_once:
            young = sum(each.taken < SETTLED for each in running)
            if running and not room(young + 1):
                break
            running.append(_Turns(waiting.pop(0), where))
        for each in list(running):
            record = each.take()
            if record is not None:
                running.remove(each)
                yield record


def _random(device: torch.device) -> list[Tensor]:
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def _set_random(states: Sequence[Tensor], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    for state in states[1:]:
        torch.cuda.set_rng_state(state, device)
