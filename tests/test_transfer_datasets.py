"""The data sets of transfer experiments, from tiny files laid out as the published ones: which photograph has which
label, and which split. The network is never asked."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision.datasets
from PIL import Image
from scipy.io import savemat

from jkbench.data import prepared
from jkbench.data.arrays import Split
from jkbench.data.download import downloaded, unpacked
from jkbench.errors import UserError
from jkbench.plugins.discovery import Index
from jkbench.plugins.loading import load

SIZE = 8
CLASSES = {"caltech101": 101, "dtd": 47, "flowers102": 102, "flowers17": 17, "mit67": 67, "pets": 37}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JKBENCH_DATA", str(tmp_path / "data"))
    return tmp_path


def photograph(shade: int) -> bytes:
    """A plain photograph, whose shade says afterwards which one it was."""
    stream = io.BytesIO()
    Image.new("RGB", (12, 10), (shade, shade, 255 - shade)).save(stream, "png")  # what it holds counts, not its name
    return stream.getvalue()


def put(file: Path, content: bytes | str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)


def shades(split: Split) -> list[tuple[int, int]]:
    """Label and shade of every image, in order of both."""
    return sorted(zip(split.labels.tolist(), split.images[:, 3, 3, 0].tolist(), strict=True))


def counts(splits: Mapping[str, Split]) -> dict[str, int]:
    return {part: len(split) for part, split in splits.items()}


def dataset(index: Index, name: str) -> Any:
    return load(index.datasets()[name])(size=SIZE)


def replace_download(patch: pytest.MonkeyPatch, kind: type, method: str, lay_out: Any) -> None:
    """Instead of torchvision's download, files in the folder that it was given."""
    patch.setattr(kind, method, lambda self: lay_out(self))


@pytest.mark.parametrize("name", CLASSES)
def test_class_names_are_whole_and_fetched_sets_say_so(index: Index, name: str) -> None:
    source = index.datasets()[name]
    classes = source.facts["classes"]
    assert len(set(classes)) == len(classes) == CLASSES[name]
    assert source.facts["fetched"]
    assert source.broken is None
    if name not in ("flowers102", "flowers17"):  # the published labels are those of sorted names
        assert sorted(classes) == list(classes)


def test_flowers102_has_the_published_labels_and_splits(
    index: Index, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flowers = torchvision.datasets.Flowers102
    ids = {"trnid": [4, 2], "valid": [1, 6], "tstid": [3, 5]}
    labels = [102, 7, 7, 1, 1, 1]  # of images 1, 2, …, counted from 1

    def lay_out(held: Any) -> None:
        for i in range(6):
            put(held._images_folder / f"image_{i + 1:05d}.jpg", photograph(10 * i))
        savemat(held._base_folder / "setid.mat", ids)
        savemat(held._base_folder / "imagelabels.mat", {"labels": labels})

    monkeypatch.setattr(flowers, "_check_integrity", lambda self: True)  # its checksums are of the published files
    replace_download(monkeypatch, flowers, "download", lay_out)
    plugin = dataset(index, "flowers102")
    assert list(plugin.classes) == flowers.classes
    got = plugin.load()
    assert {part: shades(split) for part, split in got.items()} == {
        "train": [(0, 30), (6, 10)], "validation": [(0, 50), (101, 0)], "test": [(0, 40), (6, 20)],
    }  # fmt: skip


def test_dtd_has_the_first_published_split(index: Index, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class that is missing in a split, as here, moves no label of another."""
    listed = {"train": ["zigzagged/a", "banded/b"], "val": ["polka-dotted/c"], "test": ["zigzagged/d"]}

    def lay_out(held: Any) -> None:
        for split, names in listed.items():
            put(held._meta_folder / f"{split}1.txt", "".join(f"{name}.jpg\n" for name in names))
            put(held._meta_folder / f"{split}2.txt", "")
            for name in names:
                put(held._images_folder / f"{name}.jpg", photograph(ord(name[-1])))

    replace_download(monkeypatch, torchvision.datasets.DTD, "_download", lay_out)
    plugin = dataset(index, "dtd")
    spotted = plugin.classes.index("polka-dotted")
    assert {part: shades(split) for part, split in plugin.load().items()} == {
        "train": [(0, ord("b")), (46, ord("a"))], "validation": [(spotted, ord("c"))], "test": [(46, ord("d"))],
    }  # fmt: skip


def lay_out_pets(held: Any, breeds: tuple[str, ...]) -> None:
    for split, each in (("trainval", 23), ("test", 2)):
        lines = []
        for label, breed in enumerate(breeds):
            for i in range(each):
                name = f"{breed}_{split}{i}"
                put(held._images_folder / f"{name}.jpg", photograph(60 * label + i))
                lines.append(f"{name} {label + 1} 1 {label + 1}\n")
        put(held._anns_folder / f"{split}.txt", "".join(lines))


def test_pets_validate_on_20_training_images_a_breed(index: Index, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    breeds = ("Abyssinian", "american_bulldog", "american_pit_bull_terrier")
    replace_download(
        monkeypatch, torchvision.datasets.OxfordIIITPet, "_download", lambda held: lay_out_pets(held, breeds)
    )
    got = dataset(index, "pets").load()
    assert counts(got) == {"train": 69, "selection": 9, "validation": 60, "test": 6}
    assert shades(got["test"]) == [(label, 60 * label + i) for label in range(3) for i in range(2)]
    assert shades(got["train"]) == [(label, 60 * label + i) for label in range(3) for i in range(23)]


def test_a_class_that_a_set_has_not_is_refused(index: Index, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_download(
        monkeypatch, torchvision.datasets.OxfordIIITPet, "_download", lambda held: lay_out_pets(held, ("hamster",))
    )
    with pytest.raises(UserError, match="has unknown classes: Hamster"):
        dataset(index, "pets").load()
    assert not prepared.is_prepared(f"pets-{SIZE}")


def lay_out_caltech(held: Any, images: Mapping[str, int]) -> None:
    for label, (category, count) in enumerate(images.items()):
        for i in range(count):
            put(
                Path(held.root) / f"101_ObjectCategories/{category}/image_{i + 1:04d}.jpg",
                photograph(100 * (label % 2) + i),
            )


def test_caltech101_draws_30_training_images_and_up_to_50_for_test(
    index: Index, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = {"accordion": 33, "yin_yang": 95, "BACKGROUND_Google": 40}
    replace_download(
        monkeypatch, torchvision.datasets.Caltech101, "download", lambda held: lay_out_caltech(held, images)
    )
    plugin = dataset(index, "caltech101")
    with pytest.raises(UserError, match="has 128 images, not 8677"):  # as an unpacking that was stopped leaves it
        plugin.load()
    assert not prepared.is_prepared(f"caltech101-{SIZE}")
    monkeypatch.setitem(type(plugin)._files.__globals__, "IMAGES", 128)
    got = plugin.load()
    assert counts(got) == {"train": 60, "selection": 50, "validation": 10, "test": 53}
    label = plugin.classes.index("accordion")
    shown = [shades(got[part]) for part in ("train", "test")]
    assert sorted(shade for part in shown for own, shade in part if own == label) == list(range(33))
    assert {own for part in shown for own, _ in part} == {label, 100}
    assert [len(part) for part in map(set, shown)] == [60, 53]
    assert not set(shown[0]) & set(shown[1])
    larger = type(plugin)(size=2 * SIZE).load()
    assert {part: shades(split) for part, split in larger.items() if part in ("train", "test")} == {
        "train": shown[0], "test": shown[1],
    }  # fmt: skip


def fake_network(patch: pytest.MonkeyPatch, files: Mapping[str, bytes]) -> list[str]:
    """A network that has these files, by the end of their address; returns what is asked of it."""
    asked: list[str] = []

    def download(url: str, folder: str, **_: object) -> None:
        asked.append(url)
        (Path(folder) / Path(url).name).write_bytes(files[Path(url).name])

    patch.setattr("torchvision.datasets.utils.download_url", download)
    return asked


def packed(files: Mapping[str, bytes], compression: str = "") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=f"w:{compression}") as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def scenes(**lists: str) -> dict[str, bytes]:
    """MIT's three files: rooms of 17 listed training images and one listed for test, and one that no list has."""
    images, train, test = {}, [], []
    for label, room in enumerate(("airport_inside", "winecellar")):
        for i in range(19):
            name = f"{room}/a room {i}.jpg"
            images[f"Images/{name}"] = photograph(100 * label + i)
            (train if i < 17 else test if i < 18 else []).append(name)
    listed = {"TrainImages.txt": "\r\n".join(train).encode(), "TestImages.txt": "\r\n".join([*test, ""]).encode()}
    return listed | {"indoorCVPR_09.tar": packed(images)} | {f"{k}.txt": v.encode() for k, v in lists.items()}


def short_lists(monkeypatch: pytest.MonkeyPatch, plugin: Any, train: int = 34) -> Any:
    """The plugin, for lists of `scenes` instead of the published ones."""
    monkeypatch.setitem(type(plugin)._files.__globals__, "LISTED", {"train": train, "test": 2})
    return plugin


def test_mit67_follows_the_authors_lists(index: Index, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = fake_network(monkeypatch, scenes())
    got = short_lists(monkeypatch, dataset(index, "mit67")).load()
    assert counts(got) == {"train": 34, "selection": 2, "validation": 32, "test": 2}
    assert shades(got["train"]) == [(66 * label, 100 * label + i) for label in range(2) for i in range(17)]
    assert shades(got["test"]) == [(0, 17), (66, 117)]
    short_lists(monkeypatch, load(index.datasets()["mit67"])(size=2 * SIZE)).load()
    assert len(asked) == 3  # for both sizes


def test_mit67_names_what_is_listed_and_missing(index: Index, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_network(monkeypatch, scenes(TestImages="winecellar/a room 17.jpg\nwinecellar/none.jpg\n"))
    with pytest.raises(
        UserError, match=r"1 of 36 images of mit67 in .* cannot be read: .*winecellar/none.jpg \(there is no"
    ):
        short_lists(monkeypatch, dataset(index, "mit67")).load()


def test_mit67_refuses_a_list_that_was_cut(index: Index, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_network(monkeypatch, scenes())
    with pytest.raises(UserError, match=r"TrainImages\.txt lists 34 images, not 5360"):
        dataset(index, "mit67").load()


def test_a_list_that_is_a_page_is_refused(index: Index, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_network(monkeypatch, scenes(TrainImages="<html>moved</html>\n"))
    with pytest.raises(UserError, match=r"TrainImages.txt has unknown classes: <html>moved<"):
        dataset(index, "mit67").load()


def test_flowers17_has_80_files_a_class_in_order(index: Index, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {f"jpg/image_{i + 1:04d}.jpg": photograph(15 * (i // 80)) for i in range(1360)}
    fake_network(monkeypatch, {"17flowers.tgz": packed(files, "gz")})
    got = dataset(index, "flowers17").load()
    assert counts(got) == {"train": 680, "validation": 340, "test": 340}
    for part, each in (("train", 40), ("validation", 20), ("test", 20)):
        assert shades(got[part]) == [(label, 15 * label) for label in range(17) for _ in range(each)]


def test_what_was_half_fetched_or_half_unpacked_is_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = packed({f"{i}.jpg": photograph(i) for i in range(9)})
    url = "http://nowhere.example/images.tar"

    def breaks(url: str, folder: str, **_: object) -> None:
        (Path(folder) / "images.tar").write_bytes(whole[:5000])
        raise ConnectionError("reset")

    monkeypatch.setattr("torchvision.datasets.utils.download_url", breaks)
    with pytest.raises(ConnectionError):
        downloaded(url, tmp_path)
    assert list(tmp_path.iterdir()) == []
    fake_network(monkeypatch, {"images.tar": whole[:5000]})
    with pytest.raises(tarfile.TarError):
        unpacked(url, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["images.tar"]
    (tmp_path / "images.tar").write_bytes(whole)  # put there by hand
    assert len(list(unpacked(url, tmp_path).iterdir())) == 9
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_an_archive_cannot_write_outside_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unpacking went through a call that let a member climb out."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    fake_network(monkeypatch, {"images.tar": packed({"../../../outside.jpg": photograph(1)})})
    with pytest.raises(tarfile.FilterError):
        unpacked("http://nowhere.example/images.tar", folder)
    assert [path.name for path in tmp_path.rglob("*")] == ["downloads", "images.tar"]


def test_flowers17_takes_what_was_imported(index: Index, root: Path) -> None:
    plugin = dataset(index, "flowers17")
    stream = np.random.default_rng(0)
    splits = {
        part: Split(stream.integers(0, 256, (34, 10, 10, 3), dtype=np.uint8), np.arange(34) % 17)
        for part in ("train", "validation", "test")
    }
    prepared.save("flowers17", plugin.classes, "", splits)
    assert {part: split.shape for part, split in plugin.load().items()} == dict.fromkeys(splits, (34, SIZE, SIZE, 3))
