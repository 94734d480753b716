"""A content hash that is kept is the one that would be taken, and is never taken for another content's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jkbench.data import arrays, hashed, prepared
from jkbench.data.arrays import Split

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
    first, second = hashed.content(kept), hashed.content(kept)
    assert len(calls) == 1
    assert first == second == arrays.content(kept)


def test_other_images_labels_or_names_have_another(kept: dict[str, Split]) -> None:
    whole = hashed.content(kept)
    test = kept["test"]
    others = [
        kept | {"test": test.take(np.arange(1, len(test)))},
        kept | {"test": test.take(np.arange(len(test))[::-1])},
        kept | {"test": replace(test, labels=1 - test.labels)},
        kept | {"test": kept["train"]},
        {name: split for name, split in kept.items() if name != "selection"},
    ]
    found = [hashed.content(other) for other in others]
    assert found == [arrays.content(other) for other in others]
    assert len({whole, *found}) == 1 + len(others)


def test_images_that_nobody_checked_are_hashed_each_time(
    kept: dict[str, Split], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = Split(kept["test"].images.copy(), kept["test"].labels)
    calls = taken(monkeypatch)
    for _ in range(2):
        hashed.content(kept | {"test": mine})
    assert len(calls) == 2


def test_a_damaged_image_is_still_found(kept: dict[str, Split]) -> None:
    hashed.content(kept)
    file = prepared.path("pets") / "train_images.npy"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(prepared.UserError, match="damaged"):
        prepared.kept("pets", CLASSES, "")


@pytest.mark.parametrize("held", ["", "not a hash", "0" * 15])
def test_what_is_no_hash_is_taken_again(kept: dict[str, Split], tmp_path: Path, held: str) -> None:
    whole = hashed.content(kept)
    (file,) = (tmp_path / "cache/contents").iterdir()
    file.write_text(held)
    assert hashed.content(kept) == whole


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(
    kept: dict[str, Split], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a_file").write_text("")
    monkeypatch.setenv("JKBENCH_CACHE", str(tmp_path / "a_file"))
    assert hashed.content(kept) == arrays.content(kept)
