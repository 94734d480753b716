"""A content hash that is kept is the one that would be taken, and is never taken for another content's."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from jkbench.data import arrays, prepared
from jkbench.data import content as content_hash
from jkbench.data.arrays import Split
from jkbench.engine import images as image_sets
from jkbench.files import cache_folder

CLASSES = ("cat", "dog")


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Split]:
    monkeypatch.setenv("JKBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("JKBENCH_CACHE", str(tmp_path / "cache"))
    stream = np.random.default_rng(0)
    images = [stream.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8) for count in (20, 8)]
    splits = {
        name: Split(image, np.arange(len(image)) % 2) for name, image in zip(("train", "test"), images, strict=True)
    }
    return prepared.with_validation(prepared.prepared("pets", CLASSES, "", lambda folder: splits), 3)


def taken(monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, Split]]:
    found: list[Mapping[str, Split]] = []
    whole = arrays.content

    def content(splits: Mapping[str, Split]) -> str:
        found.append(splits)
        return whole(splits)

    monkeypatch.setattr(arrays, "content", content)
    return found


def test_a_hash_is_taken_once(kept: dict[str, Split], monkeypatch: pytest.MonkeyPatch) -> None:
    calls = taken(monkeypatch)
    first, second = content_hash.content(kept), content_hash.content(kept)
    assert len(calls) == 1
    assert first == second == arrays.content(kept)


def test_other_images_labels_or_names_have_another(kept: dict[str, Split]) -> None:
    whole = content_hash.content(kept)
    test = kept["test"]
    others = [
        kept | {"test": test.take(np.arange(1, len(test)))},
        kept | {"test": test.take(np.arange(len(test))[::-1])},
        kept | {"test": replace(test, labels=1 - test.labels)},
        kept | {"test": kept["train"]},
        {name: split for name, split in kept.items() if name != "selection"},
    ]
    found = [content_hash.content(other) for other in others]
    assert found == [arrays.content(other) for other in others]
    assert len({whole, *found}) == 1 + len(others)


def test_images_that_nobody_checked_are_hashed_each_time(
    kept: dict[str, Split], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = Split(kept["test"].images.copy(), kept["test"].labels)
    calls = taken(monkeypatch)
    for _ in range(2):
        content_hash.content(kept | {"test": mine})
    assert len(calls) == 2


def test_a_damaged_image_is_still_found(kept: dict[str, Split]) -> None:
    content_hash.content(kept)
    file = prepared.path("pets") / "train_images.npy"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(prepared.UserError, match="damaged"):
        prepared.load("pets", CLASSES, "")


@pytest.mark.parametrize("held", ["", "not a hash", "0" * 15])
def test_what_is_no_hash_is_taken_again(kept: dict[str, Split], tmp_path: Path, held: str) -> None:
    whole = content_hash.content(kept)
    (file,) = (tmp_path / "cache/contents").iterdir()
    file.write_text(json.dumps(held) if held else "")
    assert content_hash.content(kept) == whole


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(
    kept: dict[str, Split], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a_file").write_text("")
    monkeypatch.setenv("JKBENCH_CACHE", str(tmp_path / "a_file"))
    assert content_hash.content(kept) == arrays.content(kept)


@pytest.fixture
def large(kept: dict[str, Split], monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, Split]]:
    """The data set as if its files were large and written long ago; and what is hashed of it from now on."""
    monkeypatch.setattr(content_hash, "ALWAYS", 100)
    monkeypatch.setattr(content_hash, "_SETTLED", -1.0)
    return taken(monkeypatch)


def test_large_files_that_nobody_touched_are_not_read_again(large: list[Mapping[str, Split]]) -> None:
    first, second = prepared.load("pets", CLASSES, ""), prepared.load("pets", CLASSES, "")
    assert len(large) == 1
    assert [split.checked for split in first.values()] == [split.checked for split in second.values()]


@pytest.mark.parametrize("file", ["train_images", "test_images", "train_labels"])
def test_a_large_file_that_was_touched_is_read_again(large: list[Mapping[str, Split]], file: str) -> None:
    prepared.load("pets", CLASSES, "")
    path = prepared.path("pets") / f"{file}.npy"
    data, times = bytearray(path.read_bytes()), path.stat()
    data[-1 if "images" in file else -8] ^= 1
    time.sleep(0.05)  # the file system's clock ticks
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # its time of change cannot be set back
    with pytest.raises(prepared.UserError, match="damaged"):
        prepared.load("pets", CLASSES, "")
    assert len(large) == 2


def test_large_files_without_a_note_or_with_a_broken_one_are_read(large: list[Mapping[str, Split]]) -> None:
    prepared.load("pets", CLASSES, "")
    (note,) = (cache_folder() / "contents").glob("files-*")
    note.write_text('"not a hash"')
    prepared.load("pets", CLASSES, "")
    assert len(large) == 2
    prepared.load("pets", CLASSES, "")
    assert len(large) == 2


def test_files_that_have_just_been_written_and_small_ones_are_always_read(
    kept: dict[str, Split], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = taken(monkeypatch)
    for _ in range(2):
        prepared.load("pets", CLASSES, "")
    assert len(calls) == 2
    monkeypatch.setattr(content_hash, "ALWAYS", 100)
    monkeypatch.setattr(content_hash, "_SETTLED", 3600.0)
    waited: list[float] = []
    monkeypatch.setattr(content_hash.time, "sleep", waited.append)  # and it is too early still
    for _ in range(2):
        prepared.load("pets", CLASSES, "")
    assert len(calls) == 4
    assert all(3500 < seconds <= 3600 for seconds in waited)
    assert len(waited) == 2


def test_statistics_are_those_of_the_pixels_and_counted_once(
    kept: dict[str, Split], monkeypatch: pytest.MonkeyPatch
) -> None:
    train = kept["train"]
    pixels = train.images.astype(np.float64).reshape(-1, 3) / 255
    counted: list[int] = []
    whole = Split.parts

    def parts(split: Split, size: int | None = None) -> Iterator[NDArray[np.uint8]]:
        counted.append(len(split))
        return whole(split, size)

    monkeypatch.setattr(Split, "parts", parts)
    for times in (1, 1):  # the second time from what is kept
        mean, std = image_sets.statistics(train)
        np.testing.assert_allclose(mean.flatten(), pixels.mean(0), rtol=1e-6)
        np.testing.assert_allclose(std.flatten(), pixels.std(0), rtol=1e-6)
        assert len(counted) == times
    (note,) = (cache_folder() / "contents").glob("pixels-*")
    for damaged in ("", "[[1]]", json.dumps([[0] * 256] * 3), json.dumps(None)):
        note.write_text(damaged)
        assert torch.equal(image_sets.statistics(train)[0], mean)
    assert len(counted) == 5
    some = train.take(np.arange(5))  # others have statistics of their own
    np.testing.assert_allclose(image_sets.statistics(some)[0].flatten(), some.images.mean((0, 1, 2)) / 255, rtol=1e-6)


def test_statistics_of_images_that_nobody_checked_are_not_kept(kept: dict[str, Split]) -> None:
    image_sets.statistics(Split(kept["train"].images.copy(), kept["train"].labels))
    assert not list((cache_folder() / "contents").glob("pixels-*"))


def test_the_hash_of_a_subset_is_kept_of_large_ones_and_is_the_same(
    kept: dict[str, Split], monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(split: Split) -> str:
        images = image_sets.on_device(split, image_sets.statistics(kept["train"]), torch.device("cpu"))
        return image_sets.pixel_hash(split, images)

    some, others = kept["train"].take(np.arange(6)), kept["train"].take(np.arange(1, 7))
    plain = [found(split) for split in (some, others, kept["train"], kept["test"])]
    assert len(set(plain)) == 4
    assert not list((cache_folder() / "contents").glob("subset-*"))
    monkeypatch.setattr(content_hash, "ALWAYS", 10)
    assert [found(split) for split in (some, others, kept["train"], kept["test"])] == plain
    monkeypatch.setattr(image_sets.ImageSet, "parts", None)  # nothing is read any more
    assert [found(split) for split in (some, others, kept["train"], kept["test"])] == plain
