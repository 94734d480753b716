"""Which scored images a trial has right: from its predictions, without the images."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from jkbench.records.schema import Record, unpack_labels


def right(record: Record) -> NDArray[np.bool_] | None:
    """A mask over the scored images, in the order of their split, which is that of their classes.

    None where the record holds no predictions, and where these are damaged or do not give the accuracy that it states.
    """
    data, accuracy = record.data, record.metrics.get("accuracy")
    if data is None or record.predictions is None or accuracy is None:
        return None
    counts = data.scored_per_class or (data.scored_images // data.classes,) * data.classes
    truth = _truth(counts)
    try:
        predicted = unpack_labels(record.predictions)
    except ValueError:
        return None
    if len(truth) != len(predicted):
        return None
    found: NDArray[np.bool_] = truth == predicted
    return found if abs(np.count_nonzero(found) / len(found) - accuracy) < 0.5 / len(found) else None


@lru_cache(maxsize=16)
def _truth(counts: tuple[int, ...]) -> NDArray[np.int64]:
    """The labels of a split with so many images of each class."""
    return np.repeat(np.arange(len(counts)), counts)
