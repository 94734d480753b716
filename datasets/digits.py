"""Handwritten digits of the UCI repository, 8×8 grey, 1,797 images; inside scikit-learn, nothing to download."""

import numpy as np

from jkbench import Dataset, Split, carve


class Digits(Dataset):
    """Alpaydin & Kaynak 1998, as scikit-learn ships it: without official splits, so they are carved here."""

    cite = "alpaydin1998digits"
    classes = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

    def load(self) -> dict[str, Split]:
        from sklearn.datasets import load_digits

        bunch = load_digits()
        images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., None]  # stored as 0..16
        return carve(images, bunch.target, validation=20, test=80)
