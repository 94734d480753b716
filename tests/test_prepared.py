"""Published images: fetched or imported once, whatever order they come in; anything else is refused with the file's
name and the next step, and nothing half-prepared is ever taken for prepared."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from jkbench.cli import cli
from jkbench.data import arrays, prepared
from jkbench.data.arrays import Split
from jkbench.data.download import of_torchvision
from jkbench.errors import UserError

CLASSES = ("cat", "dog", "eel")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JKBENCH_DATA", str(tmp_path / "data"))
    return tmp_path


def images(per_class: int, seed: int) -> Split:
    stream = np.random.default_rng(seed)
    drawn = stream.integers(0, 256, (3 * per_class, 4, 4, 3), dtype=np.uint8)
    return Split(drawn, np.arange(3 * per_class) % 3)


SPLITS = {"train": images(10, 1), "test": images(4, 2)}
CONTENT = prepared.content_of(SPLITS)


def shuffled(split: Split) -> Split:
    return split.take(np.random.default_rng(3).permutation(len(split)))


def write(file: Path, **changes: object) -> Path:
    held: dict[str, object] = {"classes": np.array(CLASSES)}
    for part, split in SPLITS.items():
        held |= {f"{part}_images": split.images, f"{part}_labels": split.labels}
    kept = {name: value for name, value in (held | changes).items() if value is not None}
    np.savez(file, **kept)  # type: ignore[arg-type]
    return file


def never(folder: Path) -> Mapping[str, Split]:
    raise AssertionError("fetched although it is there")


def test_a_class_without_training_images_is_refused(root: Path) -> None:
    train = SPLITS["train"].take(SPLITS["train"].labels != 1)
    file = write(root / "some.npz", train_images=train.images, train_labels=train.labels)
    with pytest.raises(UserError, match=r"no images of 1 of 3 classes: 1"):
        prepared.read("pets", file, CLASSES)


def test_images_are_fetched_once_and_then_read(root: Path) -> None:
    fetched = []

    def fetch(folder: Path) -> Mapping[str, Split]:
        assert folder.is_dir()
        fetched.append(folder)
        return SPLITS

    for _ in range(2):
        got = prepared.prepared("pets", CLASSES, CONTENT, fetch)
        assert prepared.content_of(got) == CONTENT
    assert len(fetched) == 1
    assert sorted(path.name for path in (root / "data/pets").iterdir()) == [
        "about.json", "test_images.npy", "test_labels.npy", "train_images.npy", "train_labels.npy",
    ]  # fmt: skip
    assert isinstance(got["train"].stored, np.memmap)
    assert not list((root / "data").glob(".writing-*"))


def test_the_order_of_the_file_does_not_matter(root: Path) -> None:
    file = write(
        root / "other.npz",
        **{f"{part}_images": shuffled(split).images for part, split in SPLITS.items()},
        **{f"{part}_labels": shuffled(split).labels for part, split in SPLITS.items()},
    )
    prepared.save("pets", CLASSES, CONTENT, prepared.read("pets", file, CLASSES))
    again = arrays.canonical(prepared.prepared("pets", CLASSES, CONTENT, never)["train"])
    assert np.array_equal(again.images, arrays.canonical(SPLITS["train"]).images)


WRONG = [
    ({"test_labels": None}, "has no test_labels"),
    ({"train_images": SPLITS["train"].images[:, :, :, 0]}, "images are uint8 (30, 4, 4)"),
    ({"train_images": SPLITS["train"].images.astype(np.float32)}, "images are float32"),
    ({"train_labels": SPLITS["train"].labels + 1}, "split 'train': labels are 1 to 3"),
    ({"train_images": np.uint8(3)}, "split 'train': images are uint8 ()"),
    ({"train_labels": np.int64(3)}, "split 'train': labels are int64 ()"),
    ({"train_labels": SPLITS["train"].labels[:5]}, "5 labels for 30 images"),
    ({"train_labels": SPLITS["train"].labels.astype(np.float64)}, "labels are float64"),
    ({"classes": np.array(["dog", "cat", "eel"])}, "has other classes than pets, or in another order"),
]


@pytest.mark.parametrize(("changes", "told"), WRONG, ids=[told for _, told in WRONG])
def test_wrong_arrays_are_refused_with_the_files_name(root: Path, changes: dict[str, object], told: str) -> None:
    file = write(root / "wrong.npz", **changes)
    with pytest.raises(UserError) as caught:
        prepared.read("pets", file, CLASSES)
    assert str(file) in caught.value.message
    assert told in caught.value.message


@pytest.mark.parametrize("size", [0, 10, 1000])
@pytest.mark.parametrize("file", ["train_images.npy", "test_labels.npy", "about.json"])
def test_a_truncated_file_is_refused_and_says_how_to_make_it_again(root: Path, file: str, size: int) -> None:
    at = prepared.save("pets", CLASSES, CONTENT, SPLITS) / file
    whole = at.read_bytes()
    at.write_bytes(whole[: min(size, len(whole) - 1)])
    with pytest.raises(UserError, match="are damaged") as caught:
        prepared.prepared("pets", CLASSES, CONTENT, never)
    assert str(at.parent) in caught.value.message
    assert "jkbench data prepare pets" in caught.value.hint


@pytest.mark.parametrize("file", ["train_images.npy", "train_labels.npy"])
def test_a_flipped_bit_is_seen(root: Path, file: str) -> None:
    at = prepared.save("pets", CLASSES, CONTENT, SPLITS) / file
    content = bytearray(at.read_bytes())
    content[-8] ^= 1
    at.write_bytes(content)
    with pytest.raises(UserError, match="are damaged"):
        prepared.prepared("pets", CLASSES, CONTENT, never)


def test_a_split_that_is_missing_is_seen(root: Path) -> None:
    (prepared.save("pets", CLASSES, CONTENT, SPLITS) / "test_images.npy").unlink()
    with pytest.raises(UserError, match="are damaged"):
        prepared.prepared("pets", CLASSES, CONTENT, never)


def test_a_folder_that_was_killed_while_it_was_written_is_written_again(root: Path) -> None:
    """Nothing half-prepared is ever taken for prepared."""
    half = prepared.path("pets")
    half.mkdir(parents=True)
    (half / "train_images.npy").write_bytes(b"half")
    assert not prepared.is_prepared("pets")
    got = prepared.prepared("pets", CLASSES, CONTENT, lambda folder: SPLITS)
    assert prepared.content_of(got) == CONTENT


def test_writing_that_fails_leaves_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(UserError, match="No space left on device"):
        prepared.save("pets", CLASSES, CONTENT, SPLITS)
    assert not list((root / "data").iterdir())


def test_taking_images_copies_none_until_they_are_read(root: Path) -> None:
    prepared.save("pets", CLASSES, CONTENT, SPLITS)
    train = prepared.load("pets", CLASSES, CONTENT)["train"]
    few = train.take(train.labels > 0).take(np.array([3, 5]))
    assert few.stored is train.stored
    assert few.ordered
    assert not train.take(np.array([5, 3])).ordered
    assert np.array_equal(few.images, train.images[np.flatnonzero(train.labels > 0)[[3, 5]]])
    assert np.array_equal(np.concatenate(list(train.parts(7))), train.images)


def test_splits_of_several_sizes_are_refused(root: Path) -> None:
    larger = np.zeros((12, 8, 8, 3), np.uint8)
    file = write(root / "two.npz", test_images=larger)
    with pytest.raises(UserError, match=r"images of several sizes: .*test 8×8×3"):
        prepared.read("pets", file, CLASSES)


def test_validation_images_of_their_own_are_kept(root: Path) -> None:
    file = write(root / "three.npz", val_images=SPLITS["test"].images, val_labels=SPLITS["test"].labels)
    splits = prepared.read("pets", file, CLASSES)
    prepared.save("pets", CLASSES, "", splits)
    got = prepared.load("pets", CLASSES, "")
    assert {part: len(split) for part, split in got.items()} == {"train": 30, "validation": 12, "test": 12}


def test_other_images_are_never_taken_for_the_published_ones(root: Path) -> None:
    other = {**SPLITS, "train": images(10, 9)}
    with pytest.raises(UserError, match="not the published images of pets: their hash is"):
        prepared.save("pets", CLASSES, CONTENT, other)
    assert not prepared.path("pets").exists()


def test_a_file_that_somebody_put_there_is_compared_with_the_published_images(root: Path) -> None:
    prepared.save("pets", CLASSES, "", {**SPLITS, "train": images(10, 9)})
    with pytest.raises(UserError, match="does not hold the published images"):
        prepared.prepared("pets", CLASSES, CONTENT, never)


def test_files_that_are_no_archive_of_arrays_are_refused(root: Path) -> None:
    np.save(root / "array.npy", SPLITS["train"].images)
    with zipfile.ZipFile(root / "words.npz", "w") as archive:
        archive.writestr("train_images", "no array")
    np.savez_compressed(root / "packed.npz", train_images=SPLITS["train"].images)
    content = bytearray((root / "packed.npz").read_bytes())
    content[120:140] = bytes(20)
    (root / "packed.npz").write_bytes(content)
    for name in ("array.npy", "words.npz", "packed.npz"):
        with pytest.raises(UserError, match=name):
            prepared.read("pets", root / name, CLASSES)
    write(root / "flat.npz", classes=np.array("cat"))
    with pytest.raises(UserError, match="other classes"):
        prepared.read("pets", root / "flat.npz", CLASSES)


def test_a_failed_fetch_says_what_to_do_without_a_network(root: Path) -> None:
    def fails(folder: Path) -> Mapping[str, Split]:
        raise RuntimeError("File not found or corrupted.")

    with pytest.raises(UserError, match=r"cannot be downloaded to .*pets: RuntimeError: File not found") as caught:
        prepared.prepared("pets", CLASSES, CONTENT, fails)
    assert "jkbench data import pets FILE.npz" in caught.value.hint
    assert not prepared.path("pets").exists()


def test_a_data_folder_that_cannot_be_written_is_named(root: Path) -> None:
    (root / "data").write_text("a file")
    with pytest.raises(UserError, match="cannot be written") as caught:
        prepared.prepared("pets", CLASSES, CONTENT, never)
    assert "JKBENCH_DATA" in caught.value.hint
    with pytest.raises(UserError, match="cannot be written"):
        prepared.save("pets", CLASSES, CONTENT, SPLITS)


def test_a_wrong_checksum_is_torchvisions_to_see(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged archive that is already there is not unpacked, nor one that comes damaged over the network."""
    folder = root / "data/downloads/cifar10"
    folder.mkdir(parents=True)
    (folder / "cifar-10-python.tar.gz").write_bytes(b"half an archive")
    asked = []

    def retrieve(url: str, file: str, **_: object) -> None:
        asked.append(url)
        Path(file).write_bytes(b"another half")

    monkeypatch.setattr("torchvision.datasets.utils._get_redirect_url", lambda url, **_: url)
    monkeypatch.setattr("torchvision.datasets.utils._urlretrieve", retrieve)
    with pytest.raises(UserError, match=r"the images of cifar10 cannot be downloaded to .*corrupted"):
        prepared.fetched("cifar10", of_torchvision("CIFAR10"))
    assert len(asked) == 1


def test_validation_images_are_training_images_that_selection_leaves_out() -> None:
    splits = prepared.with_validation(SPLITS, per_class=3)
    keys = {name: sorted(image.tobytes() for image in split.images) for name, split in splits.items()}
    assert keys["train"] == sorted(keys["selection"] + keys["validation"])
    assert np.bincount(splits["validation"].labels).tolist() == [3, 3, 3]
    assert np.bincount(splits["selection"].labels).tolist() == [7, 7, 7]
    again = prepared.with_validation({name: shuffled(split) for name, split in SPLITS.items()}, per_class=3)
    assert np.array_equal(again["validation"].images, splits["validation"].images)
    with pytest.raises(UserError, match="validation and some training images per class are asked for"):
        prepared.with_validation(SPLITS, per_class=10)


def test_the_command_imports_and_lists(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "methods").mkdir()
    (root / "datasets").mkdir()
    (root / "datasets/birds.py").write_text(
        '"""Birds."""\nfrom jkbench import Dataset, of_torchvision, prepared, with_validation\n\n'
        f'class Birds(Dataset):\n    content = "{CONTENT}"\n    classes = {CLASSES}\n\n'
        "    def load(self):\n"
        '        return with_validation(prepared("birds", self.classes, self.content, of_torchvision("Nothing")), 3)\n'
    )
    file = write(root / "mine.npz")
    plugins = ["--plugins", str(root)]
    cli.main(["data", "list", *plugins], standalone_mode=False)
    assert "missing" in next(line for line in capsys.readouterr().out.splitlines() if line.startswith("birds"))
    cli.main(["data", "import", "birds", str(file), *plugins], standalone_mode=False)
    assert "30 training and 12 test images" in capsys.readouterr().out
    cli.main(["data", "import", "birds", str(file), *plugins], standalone_mode=False)  # once more is no harm
    assert "30 training and 12 test images" in capsys.readouterr().out
    cli.main(["data", "prepare", "birds", *plugins], standalone_mode=False)
    assert "30 train, 21 selection, 9 validation, 12 test images" in capsys.readouterr().out
    cli.main(["data", "list", *plugins], standalone_mode=False)
    assert str(prepared.path("birds")) in capsys.readouterr().out
    with pytest.raises(UserError, match="its plugin"):
        cli.main(["data", "import", "digits", str(file), *plugins], standalone_mode=False)
