"""One trial after the other, in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jkbench.execute import Setup
from jkbench.plan import Trial
from jkbench.records.schema import Record


def run(trials: Sequence[Trial], setup: Setup) -> Iterator[Record]:
    """Records in the order of the trials."""
    if not trials:
        return
    import torch

    from jkbench.engine import environment
    from jkbench.engine.trial import Where
    from jkbench.engine.trial import run as run_trial

    torch.set_num_threads(setup.threads)
    where = Where(environment.device(setup.device), setup.folder, setup.cache, alone=True, timeout=setup.timeout)
    for trial in trials:
        yield run_trial(trial, where)
