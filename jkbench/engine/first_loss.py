"""A row's first loss, with untrained networks: what a method cannot do is found before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from jkbench.data.arrays import subset
from jkbench.engine import environment
from jkbench.engine.images import TaskData
from jkbench.engine.mistakes import explained
from jkbench.engine.setup import Networks, Ready, make_ready, training_pool
from jkbench.engine.teacher import TrainedNetwork
from jkbench.errors import UserError
from jkbench.models.network import build, seeded
from jkbench.planning import Trial
from jkbench.plugins.loading import load
from jkbench.records import teachers


def refusal(trials: Sequence[Trial], data: TaskData) -> UserError | None:
    """Why a row cannot run in one of its regimes; None where it can.

    Its loss is computed once for the smallest subset of these trials, and once for the smallest batch. A broken plugin,
    and any other error of a method, is left to the trials, which it ends one by one.
    """
    try:
        load(trials[0].row.plugin)
    except UserError:
        return None
    images = [len(chosen_images(trial, data)) for trial in trials]
    # an epoch is cut into equal parts (`jkbench.engine.loop.batches`)
    smallest_batch = [number // math.ceil(number / trials[0].training.batch) for number in images]
    for at in {int(np.argmin(images)), int(np.argmin(smallest_batch))}:
        trial = trials[at]
        try:
            with environment.modes_kept(), seeded("first loss"):
                _first_loss(trial, data)
        except UserError as error:
            found = explained(error, [trial.row.plugin])
            return UserError(f"{trial.name}: {found.message}", found.hint)
        except (Exception, SystemExit):
            continue
    return None


def chosen_images(trial: Trial, data: TaskData) -> NDArray[np.int64]:
    """The images of a trial, by their places in its pool."""
    pool = training_pool(data.target.splits, trial.split)
    return subset(data.target.splits[pool].labels, trial.shots, trial.seed)


def untrained(trial: Trial, data: TaskData) -> Networks:
    """The networks of a trial's task as they are before their training."""
    channels, pixels = data.target.size

    def made(role: teachers.Role) -> TrainedNetwork:
        recipe = teachers.of_task(trial.task, trial.datasets, role)
        if recipe is None:
            raise UserError(f"a {trial.task.kind} task has no {role} that was trained on the teacher's images")
        return TrainedNetwork.of(recipe, build(recipe.architecture, channels, pixels, data.outputs, recipe.seed), None)

    return made


def ready_on(trial: Trial, data: TaskData, chosen: NDArray[np.int64], device: torch.device) -> Ready:
    """A trial on these images of its pool alone, with untrained networks, and one image to score."""
    pool, splits = training_pool(data.target.splits, trial.split), data.target.splits
    few = {trial.split: splits[trial.split].take(np.arange(1)), pool: splits[pool].take(chosen)}
    small = replace(data, target=replace(data.target, splits={**splits, **few}))
    return make_ready(replace(trial, shots="full"), device, small, untrained(trial, data))


def _first_loss(trial: Trial, data: TaskData) -> None:
    ready = ready_on(trial, data, chosen_images(trial, data), torch.device("cpu"))
    loop = ready.loop
    batch = loop.batch(int(np.argmin([len(each) for each in loop.batches.order])))
    list(ready.method.loss(batch, *loop.signals(batch)))
    ready.deployed  # noqa: B018
