"""One trial after the other, in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jkbench.execute import Machine, failed_record
from jkbench.plan import Trial
from jkbench.records.schema import Record


def run(trials: Sequence[Trial], setup: Machine) -> Iterator[Record]:
    """Records in the order of the trials."""
    if not trials:
        return
    import torch

    from jkbench.engine import environment
    from jkbench.engine.setup import Where
    from jkbench.engine.trial import run as run_trial

    torch.set_num_threads(setup.threads)
    where = Where(environment.device(setup.device), setup.folder, setup.cache, alone=True, timeout=setup.timeout)
    for trial in trials:
        try:
            record = run_trial(trial, where)
        except Exception as error:  # outside of what a trial answers for: it ends this one alone
            record = failed_record(trial, f"{type(error).__name__}: {error}")
        yield record
