"""Which trial runs next when several run at a time: the longest first, so that none is left running alone at the end.

How long a trial takes is known from records of its row and regime, and from the trials of this run as they end. Of a
row and regime that nobody has timed one trial runs first: it tells of the others, and it is where a method that fails
is seen early.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jkbench.planning import Trial
from jkbench.records.schema import Record
from jkbench.records.timings import CellKey


def cell(trial: Trial) -> CellKey:
    """What trials of one duration have in common: the row and the regime."""
    return (trial.row.label, trial.shots)


class LongestFirst:
    """Trials that wait; among equals in the order of the plan."""

    def __init__(self, trials: Sequence[Trial], expected: Mapping[CellKey, float]) -> None:
        """``expected``: seconds by row and regime, as far as they are known."""
        self._expected = dict(expected)
        self._waiting: dict[CellKey, list[tuple[int, Trial]]] = {}
        for place, trial in enumerate(trials):
            self._waiting.setdefault(cell(trial), []).append((place, trial))
        self._untimed: set[CellKey] = set()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def take(self) -> Trial:
        """The trial to start now. Raises IndexError where none waits."""
        if not self._waiting:
            raise IndexError("no trial waits")
        key = min(self._waiting, key=self._rank)
        if key not in self._expected:
            self._untimed.add(key)
        waiting = self._waiting[key]
        trial = waiting.pop(0)[1]
        if not waiting:
            del self._waiting[key]
        return trial

    def put_back(self, trials: Sequence[Trial]) -> None:
        """Trials that were taken and could not be started."""
        for trial in reversed(trials):
            self._waiting.setdefault(cell(trial), []).insert(0, (0, trial))
            self.gave_up(trial)

    def _rank(self, key: CellKey) -> tuple[int, float, int]:
        place = self._waiting[key][0][0]
        if key in self._expected:
            return (1, -self._expected[key], place)
        return (2 if key in self._untimed else 0, 0.0, place)

    def took(self, trial: Trial, record: Record) -> None:
        """A trial has ended: what it took tells of the others of its row and regime."""
        if record.cost is not None and record.status == "ok":
            self._expected[cell(trial)] = record.cost.seconds
        self.gave_up(trial)

    def gave_up(self, trial: Trial) -> None:
        """A trial has ended without a time: another of its kind may be the one that is timed."""
        self._untimed.discard(cell(trial))
