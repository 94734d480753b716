"""Photographs: resized as the field does, unreadable ones counted and named, never all of them in memory; imported ones
before fetched ones, and never smaller than a task asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision import transforms

from jkbench.cli import cli
from jkbench.data import photographs, prepared
from jkbench.data.arrays import Split
from jkbench.data.photographs import Files
from jkbench.engine import images as image_sets
from jkbench.errors import UserError
from jkbench.plugins.describe import read
from jkbench.tasks.task import Images

CLASSES = ("cat", "dog")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JKBENCH_DATA", str(tmp_path / "data"))
    return tmp_path


def picture(seed: int, width: int, height: int, mode: str = "RGB") -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height)).convert(mode)


def write(folder: Path, count: int = 12, part: str = "train") -> Files:
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for i in range(count):
        file = folder / f"{part}{i}.jpg"
        picture(1000 * (part == "test") + i, 40 + 3 * i, 31 + i).save(file)
        files.append((file, i % 2))
    return files


def both(folder: Path) -> dict[str, Files]:
    return {"train": write(folder), "test": write(folder, 6, "test")}


def never(folder: Path) -> Mapping[str, Files]:
    raise AssertionError("fetched although it is there")


def load(size: int, files: object = both, validation: int = 1) -> dict[str, Split]:
    return photographs.photographs("animals", CLASSES, size, files, validation)  # type: ignore[arg-type]


def archive(file: Path, side: int, seed: int = 0, **changes: object) -> Path:
    stream = np.random.default_rng(seed)
    held: dict[str, object] = {"classes": np.array(CLASSES)}
    for part, count in (("train", 8), ("validation", 2), ("test", 4)):
        held[f"{part}_images"] = stream.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
        held[f"{part}_labels"] = np.arange(count) % 2
    np.savez(file, **{key: value for key, value in (held | changes).items() if value is not None})  # type: ignore[arg-type]
    return file


@pytest.mark.parametrize(("width", "height"), [(61, 40), (40, 61), (50, 50), (16, 16), (11, 9), (333, 17), (640, 481)])
def test_resizing_equals_torchvisions_resize_and_centre_crop(width: int, height: int) -> None:
    """Bicubic and antialiased, by the short side, from larger and from smaller photographs."""
    image = picture(1, width, height)
    published = transforms.Compose(
        [transforms.Resize(16, transforms.InterpolationMode.BICUBIC, antialias=True), transforms.CenterCrop(16)]
    )
    assert np.array_equal(photographs.cropped(image, 16), np.asarray(published(image)))


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA"])
def test_grey_palette_and_print_photographs_become_colour(tmp_path: Path, mode: str) -> None:
    file = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    picture(2, 40, 32, mode).save(file)
    found = photographs.decoded("animals", {"train": [(file, 0)]}, 16, tmp_path)["train"].images[0]
    with Image.open(file) as image:
        wanted = image.convert("RGB").resize((20, 16), Image.Resampling.BICUBIC).crop((2, 0, 18, 16))
    assert np.array_equal(found, np.asarray(wanted))


def test_every_file_keeps_its_label_over_many_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photographs, "BATCH", 5)
    files = [(file, label + 2 * i) for i, (file, label) in enumerate(write(tmp_path, 23))]
    got = photographs.decoded("animals", {"train": files}, 16, tmp_path)["train"]
    for image, label, (file, own) in zip(got.images, got.labels, files, strict=True):
        with Image.open(file) as opened:
            assert np.array_equal(image, photographs.cropped(opened.convert("RGB"), 16))
        assert label == own


def test_images_are_maps_of_files_that_go_with_them(root: Path) -> None:
    """Thousands of photographs are never all in memory, nor is a second file left behind."""
    folder = root / "downloads"
    made = photographs.decoded("animals", both(folder), 16, folder)
    assert all(isinstance(split.stored, np.memmap) for split in made.values())
    assert all(file.suffix == ".jpg" for file in folder.iterdir())
    smaller = photographs.resized(made, 8, folder)
    assert all(isinstance(split.stored, np.memmap) for split in smaller.values())
    assert np.array_equal(smaller["test"].images[3], photographs.cropped(Image.fromarray(made["test"].images[3]), 8))
    assert all(isinstance(split.stored, np.memmap) for split in load(16).values())


def test_unreadable_photographs_are_counted_and_named_and_nothing_is_prepared(root: Path) -> None:
    def damaged(folder: Path) -> dict[str, Files]:
        files = both(folder)
        for i in (0, 2, 3, 5, 8):
            whole = (folder / f"train{i}.jpg").read_bytes()
            (folder / f"train{i}.jpg").write_bytes(whole[: len(whole) // 2])
        (folder / "train9.jpg").write_text("<html>not found</html>")
        (folder / "test1.jpg").unlink()
        return files

    with pytest.raises(UserError) as caught:
        load(16, damaged)
    told = caught.value.message
    assert told.startswith("7 of 18 images of animals in ")
    assert "cannot be read: train0.jpg (OSError: " in told
    assert "truncated" in told.lower()
    assert [f"train{i}.jpg" in told for i in range(12)] == [i in (0, 2, 3, 5, 8) for i in range(12)]
    assert "and 2 more" in told
    assert str(root / "data/downloads/animals") in told
    assert "jkbench data prepare animals --size 16" in caught.value.hint
    assert sorted(path.name for path in (root / "data").iterdir()) == [".animals.lock", "downloads"]


def test_a_missing_file_and_one_that_is_no_image_say_so(tmp_path: Path) -> None:
    (tmp_path / "page.jpg").write_text("<html>")
    files = [(tmp_path / "page.jpg", 0), (tmp_path / "cats/gone.jpg", 1), *write(tmp_path, 2)]
    with pytest.raises(UserError, match=r"2 of 4 images .*page.jpg \(not an image\), cats/gone.jpg \(there is no"):
        photographs.decoded("animals", {"train": files}, 16, tmp_path)
    with pytest.raises(UserError, match="holds no test images of animals"):
        photographs.decoded("animals", {"test": []}, 16, tmp_path)


def test_each_size_is_made_once_from_one_folder_of_downloads(root: Path) -> None:
    folders = []

    def files(folder: Path) -> dict[str, Files]:
        folders.append(folder)
        return both(folder)

    for size in (16, 8, 16):
        got = load(size, files)
        assert {part: split.shape for part, split in got.items()} == {
            "train": (12, size, size, 3), "selection": (10, size, size, 3), "validation": (2, size, size, 3),
            "test": (6, size, size, 3),
        }  # fmt: skip
    assert folders == 2 * [root / "data/downloads/animals"]
    assert photographs.sizes("animals") == [8, 16]


def test_imported_photographs_win_and_are_resized(root: Path) -> None:
    file = archive(root / "mine.npz", 24)
    prepared.save("animals", CLASSES, "", prepared.read("animals", file, CLASSES))
    own, half = load(24, never), load(12, never)
    assert {part: len(split) for part, split in half.items()} == {"train": 8, "validation": 2, "test": 4}
    wanted = {photographs.cropped(Image.fromarray(image), 12).tobytes() for image in own["train"].images}
    assert {image.tobytes() for image in half["train"].images} == wanted
    assert photographs.sizes("animals") == [12]  # their own size is read where it lies
    with pytest.raises(UserError, match=r"imported at 24×24 pixels, but the task asks for 32×32") as caught:
        load(32, never)
    assert "size = 24 or less" in caught.value.hint
    assert "jkbench data prepare animals --size 32" in caught.value.hint


def test_grey_imported_images_stay_grey(root: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 1), dtype=np.uint8)
    got = photographs.resized({"train": Split(grey, np.arange(4) % 2)}, 8, root)["train"]
    assert got.shape == (4, 8, 8, 1)


def test_sizes_of_other_images_are_never_taken_for_the_imported_ones(root: Path) -> None:
    load(16)
    splits = prepared.read("animals", archive(root / "mine.npz", 24), CLASSES)
    prepared.save("animals", CLASSES, "", splits)
    with pytest.raises(UserError, match=r"animals-16: not made from the imported images of animals"):
        load(16, never)
    assert load(12, never)["train"].shape == (8, 12, 12, 3)


def test_damaged_folders_say_how_they_are_made_again(root: Path) -> None:
    load(16)
    images = prepared.path("animals-16") / "train_images.npy"
    images.write_bytes(images.read_bytes()[:-1])
    with pytest.raises(UserError, match="are damaged") as caught:
        load(16, never)
    assert caught.value.hint == "delete it, then jkbench data prepare animals --size 16"
    kept = prepared.save("animals", CLASSES, "", prepared.read("animals", archive(root / "mine.npz", 24), CLASSES))
    for name in ("about.json", "train_images.npy"):
        (kept / name).write_text("")
        with pytest.raises(UserError, match="are damaged"):
            load(12, never)


def test_drawn_splits_depend_on_names_alone_and_the_last_takes_what_there_is(tmp_path: Path) -> None:
    files = [(tmp_path / f"{label}/{i}.jpg", label) for label in range(3) for i in range(12 + 10 * label)]
    got = photographs.drawn(files, train=8, validation=3, test=5)
    counts = {part: np.bincount([label for _, label in listed]).tolist() for part, listed in got.items()}
    assert counts == {"train": [8, 8, 8], "validation": [3, 3, 3], "test": [1, 5, 5]}
    used = [file for listed in got.values() for file, _ in listed]
    assert len(used) == len(set(used))
    moved = [(Path("elsewhere") / file.relative_to(tmp_path), label) for file, label in reversed(files)]
    names = [
        (file.relative_to("elsewhere"), label) for file, label in photographs.drawn(moved, train=8, test=5)["train"]
    ]
    assert names == [(file.relative_to(tmp_path), label) for file, label in got["train"]]
    with pytest.raises(UserError, match="12 train, 5 test images per class are asked for; class 0 has only 12"):
        photographs.drawn(files, train=12, test=5)


PLUGIN = '''"""Animals."""
from jkbench import Dataset, photographs

class Animals(Dataset):
    fetched = True
    classes = ("cat", "dog")
    size: int = 12

    def load(self):
        return photographs("animals", self.classes, self.size, lambda folder: {}["no network"], VALIDATION)
'''


def plugin(root: Path, validation: int) -> list[str]:
    for folder in ("methods", "datasets"):
        (root / folder).mkdir(exist_ok=True)
    (root / "datasets/animals.py").write_text(PLUGIN.replace("VALIDATION", str(validation)))
    return ["--plugins", str(root)]


def run(*arguments: str) -> None:
    cli.main(["data", *arguments], standalone_mode=False)


def listed(plugins: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[str, dict[str, object]]:
    run("list", *plugins)
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("animals"))
    run("list", "--json", *plugins)
    entries = json.loads(capsys.readouterr().out)["datasets"]
    return line, next(entry for entry in entries if entry["name"] == "animals")


def test_the_commands_import_prepare_and_list_sizes(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugins = plugin(root, 0)
    line, entry = listed(plugins, capsys)
    assert line.split(maxsplit=2)[1:] == ["missing", "jkbench data prepare animals --size N"]
    assert not entry["at_hand"]
    with pytest.raises(UserError, match="cannot be downloaded") as caught:
        run("prepare", "animals", "--size", "20", *plugins)
    assert "jkbench data import animals FILE.npz" in caught.value.hint
    file = str(archive(root / "mine.npz", 24))
    run("import", "animals", file, *plugins)
    run("import", "animals", file, *plugins)  # once more is no harm
    run("prepare", "animals", "--size", "20", *plugins)
    assert "8 train, 2 validation, 4 test images of 20×20 pixels" in capsys.readouterr().out
    line, entry = listed(plugins, capsys)
    assert line.endswith(
        f"imported at 24×24, serves this size and smaller ones: {prepared.path('animals')}; prepared at 20×20"
    )
    assert (entry["at_hand"], entry["sizes"], entry["imported_size"]) == (True, [20], 24)
    prepared.path("animals").rename(root / "away")
    with pytest.raises(UserError, match="animals-20: not made from the imported images"):
        run("import", "animals", str(archive(root / "other.npz", 24, seed=1)), *plugins)
    assert not prepared.is_prepared("animals")
    with pytest.raises(UserError, match="has images of one size only"):
        run("prepare", "digits", "--size", "20")


def test_an_import_without_validation_images_is_refused_where_the_published_set_has_them(root: Path) -> None:
    file = str(archive(root / "mine.npz", 24, validation_images=None, validation_labels=None))
    with pytest.raises(UserError, match="no validation images, but the published set has some"):
        run("import", "animals", file, *plugin(root, 0))
    assert not prepared.is_prepared("animals")
    run("import", "animals", file, *plugin(root, 2))
    assert prepared.is_prepared("animals")


def test_a_task_asks_for_the_size(root: Path) -> None:
    run("import", "animals", str(archive(root / "mine.npz", 24)), *plugin(root, 0))
    source = read(root / "datasets/animals.py", "dataset", "x")
    assert image_sets.images(source, Images(dataset="animals", size=16)).size == (3, 16)
    assert image_sets.images(source, Images(dataset="animals")).size == (3, 12)
    with pytest.raises(UserError, match="the task asks for 32×32"):
        image_sets.images(source, Images(dataset="animals", size=32))
