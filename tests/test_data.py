"""Images in canonical order, subsets nested and balanced, whatever order they were stored in."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jkbench.data.arrays import Split, canonical, carve, check, content, held_out, subset
from jkbench.errors import UserError
from jkbench.seeds import seed_of


def made_up(classes: int = 3, each: int = 12, seed: int = 0) -> Split:
    stream = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    return Split(stream.integers(0, 256, (len(labels), 4, 4, 1), dtype=np.uint8), labels)


def shuffled(split: Split, seed: int) -> Split:
    return split.take(np.random.default_rng(seed).permutation(len(split)))


@given(seed=st.integers(0, 1000), few=st.integers(1, 6), more=st.integers(6, 12))
def test_subsets_are_nested_and_balanced(seed: int, few: int, more: int) -> None:
    labels = canonical(made_up()).labels
    small, large = subset(labels, few, seed), subset(labels, more, seed)
    assert set(small) <= set(large)
    assert np.bincount(labels[large]).tolist() == [more] * 3
    assert len(set(large)) == len(large)


@given(seed=st.integers(0, 50), storage=st.integers(1, 50))
def test_subset_does_not_depend_on_the_stored_order(seed: int, storage: int) -> None:
    one, other = canonical(made_up()), canonical(shuffled(made_up(), storage))
    chosen = subset(one.labels, 3, seed)
    assert np.array_equal(one.images[chosen], other.images[subset(other.labels, 3, seed)])


def test_a_stream_has_the_same_seed_for_ever() -> None:
    """The first eight bytes of a hash, the least significant first, halved; names do not run into each other."""
    first = hashlib.sha256(b"subset\x1f3").digest()[:8]
    assert seed_of("subset", 3) == sum(byte << 8 * place for place, byte in enumerate(first)) // 2
    assert seed_of("subset", 3) == 2442303256548747796
    assert seed_of("a", "b") != seed_of("ab")


def test_the_images_of_a_class_are_drawn_from_its_own_stream() -> None:
    """What is drawn of one class does not depend on the others; all images are all, in their order."""
    labels = np.repeat([0, 1, 4], 9)
    for draw, stream in ((lambda: subset(labels, 2, 5), ("subset", 5)), (lambda: held_out(labels, 2), ("split",))):
        drawn = [
            np.random.Generator(np.random.PCG64(seed_of(*stream, label))).permutation(np.arange(9) + 9 * place)[:2]
            for place, label in enumerate((0, 1, 4))
        ]
        found = draw()
        assert (np.flatnonzero(found) if found.dtype == bool else found).tolist() == sorted(np.concatenate(drawn))
    assert subset(labels, "full", 5).tolist() == list(range(27))


def test_images_come_back_whole_in_parts_and_in_canonical_order_after_any_choice() -> None:
    split = canonical(made_up())
    assert np.concatenate(list(split.parts(5))).tolist() == split.images.tolist()
    turned = split.take(np.arange(len(split))[::-1])
    assert (turned.labels == split.labels[::-1]).all()
    assert canonical(turned).images.tolist() == split.images.tolist()


def test_seeds_draw_different_subsets() -> None:
    labels = canonical(made_up()).labels
    drawn = {tuple(subset(labels, 3, seed)) for seed in range(20)}
    assert len(drawn) == 20


def test_carving_does_not_depend_on_the_stored_order_and_leaves_no_image_twice() -> None:
    whole, other = made_up(), shuffled(made_up(), 7)
    one = carve(whole.images, whole.labels, validation=2, test=4)
    two = carve(other.images, other.labels, validation=2, test=4)
    assert content(one) == content(two)
    assert [len(one[name]) for name in ("train", "validation", "test")] == [18, 6, 12]
    assert len({image.tobytes() for split in one.values() for image in split.images}) == 36


def test_content_changes_with_one_pixel_and_with_one_label() -> None:
    split = canonical(made_up())
    pixels, labels = split.images.copy(), split.labels.copy()
    pixels[0, 0, 0, 0] ^= 1
    labels[0] = 2
    hashes = {content({"train": Split(*pair)}) for pair in ((split.images, split.labels), (pixels, split.labels),
                                                             (split.images, labels))}  # fmt: skip
    assert len(hashes) == 3


def test_classes_are_relabelled_in_the_order_given() -> None:
    split = made_up()
    kept = split.of_classes((2, 0))
    assert np.bincount(kept.labels).tolist() == [12, 12]
    assert np.array_equal(kept.images[kept.labels == 0], split.images[split.labels == 2])


def test_too_few_images_is_refused_with_the_class() -> None:
    with pytest.raises(UserError, match="13 images per class are asked for; class 0 has only 12"):
        subset(made_up().labels, 13, 0)
    with pytest.raises(
        UserError, match="6 validation, 6 test and some training images per class are asked for; class 0 has only 12"
    ):
        carve(made_up().images, made_up().labels, validation=6, test=6)


@pytest.mark.parametrize(
    ("images", "labels", "told"),
    [
        (np.zeros((3, 4, 4, 1), np.float32), np.zeros(3, int), "float32"),
        (np.zeros((3, 4, 4), np.uint8), np.zeros(3, int), r"\(3, 4, 4\)"),
        (np.zeros((3, 4, 5, 1), np.uint8), np.zeros(3, int), "images are 4×5\n  hint: crop or resize"),
        (np.zeros((3, 4, 4, 1), np.uint8), np.zeros(2, int), "for 3 images"),
        (np.zeros((3, 4, 4, 1), np.uint8), np.array([0, 1, 2]), "0 to 2"),
        (np.zeros((3, 4, 4, 1), np.uint8), np.zeros(3), r"labels are float64 \(3,\)\n  hint: expected: 3 integers"),
    ],
)
def test_wrong_arrays_are_refused(images: np.ndarray, labels: np.ndarray, told: str) -> None:
    good = Split(np.zeros((2, 4, 4, 1), np.uint8), np.array([0, 1]))
    with pytest.raises(UserError, match=told):
        check("mine", {"train": Split(images, labels), "validation": good, "test": good}, classes=2)
    with pytest.raises(UserError, match="no 'test' split"):
        check("mine", {"train": good, "validation": good}, classes=2)


def test_lengths_that_differ_are_refused_when_a_split_is_made() -> None:
    """Such a split loaded, and ended as an IndexError or with wrong labels."""
    images = made_up().images
    for build in (Split, lambda *pair: carve(*pair, validation=1, test=1)):
        with pytest.raises(UserError, match="a split has 30 labels for 36 images"):
            build(images, made_up().labels[:30])
    with pytest.raises(UserError, match="3 labels for 2 images"):
        Split(images, made_up().labels[:3], at=np.array([0, 1]))
