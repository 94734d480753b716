"""Proposition 3 on a task of the suite: its images, its teacher, and the student that a trial trains.

The engine trains the students, as it does for records; here is only what is measured on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jkbench.data.arrays import Split, subset
from jkbench.engine import images as image_sets
from jkbench.engine import scoring
from jkbench.engine.images import ImageSet, LoadedDataset, TaskData
from jkbench.engine.loop import Diverged
from jkbench.engine.mistakes import last_lines
from jkbench.engine.setup import Where, make_ready, trained_networks, training_pool
from jkbench.engine.trial import train_and_score
from jkbench.errors import UserError
from jkbench.maths import bound
from jkbench.models.network import Network, seeded
from jkbench.planning import Trial
from jkbench.seeds import numpy_stream
from jkbench.tasks.shots import Shots
from jkbench.tasks.task import Images, Task

COPIES = 0.5
"""Deviation of the noise of the lemma's copies, of normalised pixels."""

OnStage = Callable[[str, int, int], None]
"""Is told what is under way, how many parts of it are done, and all."""


@dataclass(frozen=True)
class Side:
    """The bound for one student in one space."""

    space: str
    distance: float
    distance_with_copies: float
    slope: float
    source_mean: float
    source_max: float
    target_max: float

    @property
    def right(self) -> float:
        """max over the target + K·H."""
        return self.target_max + self.slope * self.distance

    @property
    def empty(self) -> bool:
        """Whether it allows more than the largest rho of any source image: more than any mean over them can be."""
        return self.right >= self.source_max

    @property
    def holds(self) -> bool:
        """E over the source ≤ max over the target + K·H."""
        return self.source_mean <= self.right

    @property
    def copies_tighten(self) -> bool:
        """The lemma: adding noisy copies of the target never takes it further from the source."""
        return self.distance_with_copies <= self.distance

    @property
    def factor(self) -> float:
        """How many times what it bounds the right side is."""
        return self.right / self.source_mean if self.source_mean else float("inf")


@dataclass(frozen=True)
class MeasuredStudent:
    """One trained student: how many images it had, its accuracy, and the bound in each space. None without a student,
    which ``diverged`` says."""

    trial: Trial
    images: int
    accuracy: float | None
    sides: tuple[Side, ...]
    silent: float = 0.0
    """E over the source for a student whose source head is zero: the mean of the teacher's squared logits."""
    diverged: str = ""

    @property
    def shots(self) -> Shots:
        """Its regime."""
        return self.trial.shots


@dataclass(frozen=True)
class Large:
    """The large set D_l: what it is of, how many images there are, and those that are looked at."""

    of: tuple[Images, ...]
    own: bool
    """Whether these are the images that the teacher was trained on."""
    total: int
    images: ImageSet

    @property
    def sampled(self) -> bool:
        """Whether some of its images are left out."""
        return len(self.images) < self.total


def large_set(
    task: Task, data: TaskData, count: int, device: torch.device, more: tuple[Images, LoadedDataset] | None = None
) -> Large:
    """The training images of the task's source; where it names none, all those of its target and of ``more``.

    Of more than ``count`` images so many are drawn, from the stream ``bound-source``. `UserError` where ``more`` is
    given and the source is known, or its images have another size.
    """
    if task.source is not None and more is not None:
        raise UserError(
            f"{task.name} names its source, {task.source.dataset}: no other set may replace it", "leave --source out"
        )
    sets = [(task.source, data.source)] if task.source is not None else [(task.target, data.target)]
    if more is not None:
        if more[1].size != data.target.size:
            raise UserError(
                f"--source {more[0].dataset}: its images are {more[1].size}, the target's {data.target.size} "
                "(channels, side)",
                "name a set of the same size",
            )
        sets.append(more)
    splits = [loaded.splits["train"] for _, loaded in sets]
    total = sum(map(len, splits))
    drawn = np.sort(numpy_stream("bound-source").permutation(total)[:count])
    taken = image_sets.on_device(_take(splits, drawn), data.normalisation, device)
    return Large(tuple(images for images, _ in sets), task.source is not None, total, taken)


def _take(splits: Sequence[Split], drawn: NDArray[np.int64]) -> Split:
    """The images at these positions of all splits in a row; of one split they are not copied."""
    if len(splits) == 1:
        return splits[0].take(drawn)
    parts, first = [], 0
    for split in splits:
        parts.append(split.take(drawn[(drawn >= first) & (drawn < first + len(split))] - first))
        first += len(split)
    return Split(np.concatenate([part.images for part in parts]), np.concatenate([part.labels for part in parts]))


class Pixels:
    """Normalised pixels of images as points n×D, read as they are asked for; with ``noise``, of noisy copies of them.

    A copy's noise is of the stream ``bound-copies`` and the image's own name: the same however many are read at once.
    """

    def __init__(self, images: ImageSet, noise: float = 0.0, names: Sequence[object] = (), seed: int = 0) -> None:
        self.images = images
        self._noise = noise
        self._names = names
        self._seed = seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, part: slice) -> Tensor:
        return self.at(part).flatten(1)

    def at(self, part: slice) -> Tensor:
        """The images themselves, B×C×H×W."""
        x = self.images.read(part)
        if not self._noise:
            return x
        drawn = [
            numpy_stream("bound-copies", self._seed, name).standard_normal(x[0].numel(), dtype=np.float32)
            for name in self._names[part]
        ]
        return x + self._noise * torch.from_numpy(np.stack(drawn)).to(x.device).view_as(x)


@torch.no_grad()
def features(network: Network, images: Pixels) -> Tensor:
    """What goes into the network's head, n×width."""
    size = max(1, min(scoring.CHUNK, scoring.PIXELS // images.images.images[0, 0].numel()))
    starts = range(0, len(images), size)
    return torch.cat([network.body(images.at(slice(start, start + size)))[1] for start in starts])


def rho(teacher: Tensor, student: Tensor) -> Tensor:
    """The squared distance of teacher's and student's logits, N×K, N×K → N."""
    return (teacher.double() - student.double()).square().sum(1)


def measure(
    trials: Sequence[Trial], where: Where, large: Large, data: TaskData, told: OnStage
) -> Iterator[MeasuredStudent]:
    """Train the student of each trial, and measure the bound on it.

    The teacher is the stored one, or is trained and stored. A student that diverges has no bound. `UserError` where the
    method fails.
    """
    source = Pixels(large.images)
    teacher: Network | None = None
    for trial in trials:
        trained = trained_networks(trial, where, data)
        if teacher is None:
            teacher = trained("teacher").copy()
            spaces: dict[str, bound.Points] = {"pixels": source, "the teacher's features": features(teacher, source)}
            taught = scoring.outputs(teacher, large.images)[1]
            silent = float(rho(taught, torch.zeros_like(taught)).mean())
        try:
            with seeded("layers", trial.seed):  # as in a trial
                ready = make_ready(trial, where.device, data, trained, cache=where.cache)
                metrics, _ = train_and_score(ready)
        except Diverged as error:
            yield MeasuredStudent(trial, 0, None, (), diverged=str(error))
            continue
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"{trial.name} failed:\n{last_lines(error)}") from error
        pool = data.target.splits[training_pool(data.target.splits, trial.split)]
        names = subset(pool.labels, trial.shots, trial.seed).tolist()
        images = ready.loop.batches.images
        target, copies = Pixels(images), Pixels(images, COPIES, names, trial.seed)
        sets: dict[str, tuple[bound.Points, bound.Points]] = {
            "pixels": (target, copies),
            "the teacher's features": (features(teacher, target), features(teacher, copies)),
        }
        values = rho(taught, scoring.outputs(ready.student, large.images)[1])
        held = rho(scoring.outputs(teacher, images)[1], scoring.outputs(ready.student, images)[1])
        sides = tuple(_side(space, points, *sets[space], values, held, told) for space, points in spaces.items())
        yield MeasuredStudent(trial, len(images), metrics["accuracy"], sides, silent)


def _side(
    space: str, source: bound.Points, target: bound.Points, copies: bound.Points, values: Tensor, held: Tensor,
    told: OnStage,
) -> Side:  # fmt: skip
    """The bound in one space. K is the largest slope of rho over pairs of a source image with any other image."""

    def word(what: str) -> bound.OnPart:
        return lambda done, total: told(f"{what}, {space}", done, total)

    near = bound.nearest(source, target, told=word("distances"))
    # of the set with copies: the nearer of the nearest image and the nearest copy
    nearer = torch.minimum(near, bound.nearest(source, copies, told=word("distances to copies")))
    inside = bound.lipschitz(values, source, told=word("slopes in the source"))
    across = bound.lipschitz_between(values, source, held, target, told=word("slopes to the target"))
    return Side(
        space=space,
        distance=float(near.max()),
        distance_with_copies=float(nearer.max()),
        slope=max(inside, across),
        source_mean=float(values.mean()),
        source_max=float(values.max()),
        target_max=float(held.max()),
    )
