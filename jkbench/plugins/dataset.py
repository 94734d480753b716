"""What a data set is: labelled images as plain arrays, in splits. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from jkbench.data.arrays import Split


class Dataset(BaseModel):
    """A set of labelled images: says what it is and returns its arrays.

    The engine orders the images by their content, fingerprints them, draws the few-shot subsets and hides the
    test labels from methods.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    cite: ClassVar[str] = ""
    classes: ClassVar[tuple[str, ...]] = ()
    """Class names; labels are indices into them."""
    fetched: ClassVar[bool] = False
    """Whether its images are downloaded and prepared once, without a known hash (resized pixels depend on the library).
    Such a plugin has a parameter ``size``, the side in pixels."""
    content: ClassVar[str] = ""
    """Hash of the published images, where they are prepared once (`jkbench.data.prepared`); others are refused."""

    def load(self) -> Mapping[str, Split]:
        """The splits ``train``, ``validation`` and ``test``: uint8 images N×H×W×C and integer labels N.

        `jkbench.carve` makes splits of a set that has none; parameters are chosen on validation images only. Where
        these are among the training images, a fourth split ``selection`` holds the training images of trials that are
        scored on validation images (`jkbench.data.prepared.with_validation`).
        """
        raise NotImplementedError(f"{type(self).__name__} defines no load")
