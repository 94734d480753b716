"""Random views: what each kind does to pixels, and that all methods and processes see the same ones."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from jkbench.engine.augmentation import augmented, drawn
from jkbench.engine.batches import Batches
from jkbench.engine.context import SignalSettings
from jkbench.engine.images import ImageSet
from jkbench.engine.loop import Loop
from jkbench.engine.step import Step
from jkbench.engine.teacher_signals import SignalCache, TeacherSignals
from jkbench.models.network import build
from jkbench.tasks.task import Augmentation, Training


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def view_of(x: torch.Tensor, how: Augmentation) -> torch.Tensor:
    return augmented(x, how, drawn(len(x), how, stream()))


def test_flip_and_shift_move_whole_pixels() -> None:
    x = torch.randn(200, 3, 5, 5)
    seen = view_of(x, Augmentation(flip=True, shift=1))
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1))
    found = set()
    for image, view, wide in zip(x, seen, padded, strict=True):
        candidates = {
            (flip, dy, dx): (torch.flip(wide, [2]) if flip else wide)[:, dy : dy + 5, dx : dx + 5]
            for flip in (False, True) for dy in range(3) for dx in range(3)
        }  # fmt: skip
        assert image.shape == view.shape
        matches = [key for key, candidate in candidates.items() if torch.equal(candidate, view)]
        assert len(matches) == 1
        found.update(matches)
    assert len(found) == 18, "every flip and shift is drawn"


def test_flip_alone_is_half_of_the_images() -> None:
    x = torch.randn(1000, 1, 4, 4)
    seen = view_of(x, Augmentation(flip=True))
    flipped = [torch.equal(view, image.flip(2)) for image, view in zip(x, seen, strict=True)]
    same = [torch.equal(view, image) for image, view in zip(x, seen, strict=True)]
    assert all(a != b for a, b in zip(flipped, same, strict=True))
    assert 430 < sum(flipped) < 570


def test_zoom_of_the_whole_area_is_the_image() -> None:
    x = torch.randn(4, 3, 8, 8)
    assert torch.allclose(view_of(x, Augmentation(zoom=(1.0, 1.0))), x, atol=1e-5)


def test_zoom_takes_a_square_of_the_share_of_the_area() -> None:
    """On a picture of its own coordinates a crop is a linear ramp whose slope is the side of the crop."""
    size = 32
    ramp = (torch.arange(size) + 0.5) / size
    x = torch.stack([ramp.expand(size, size), ramp[:, None].expand(size, size)]).expand(300, 2, size, size)
    seen = view_of(x, Augmentation(zoom=(0.25, 0.64)))
    inner = seen[:, :, 4:-4, 4:-4]
    across = (inner[:, 0, 0, -1] - inner[:, 0, 0, 0]) * size / (inner.shape[3] - 1)
    down = (inner[:, 1, -1, 0] - inner[:, 1, 0, 0]) * size / (inner.shape[2] - 1)
    assert torch.allclose(across, down, atol=1e-3), "squares stay squares"
    assert 0.5 <= across.min() < 0.55
    assert 0.75 < across.max() <= 0.801
    assert seen.min() >= 0
    assert seen.max() <= 1


def test_nothing_and_nonsense_are_refused() -> None:
    for wrong in ({}, {"zoom": (0.0, 1.0)}, {"zoom": (0.9, 0.5)}, {"shift": -1}, {"rotate": 3}):
        with pytest.raises(ValidationError):
            Augmentation(**wrong)  # type: ignore[arg-type]


def training(**fields: object) -> Training:
    return Training(learning_rate=1e-3, steps=4, batch=4, **fields)  # type: ignore[arg-type]


def test_a_training_without_augmentation_is_written_as_before() -> None:
    assert "augment" not in training().model_dump(mode="json")
    written = training(augment={"flip": True}).model_dump(mode="json")
    assert written["augment"] == {"flip": True, "shift": 0, "zoom": None}
    assert training(augment={"flip": True}).describe().endswith("images flipped")


def loop(seed: int, **fields: object) -> Loop:
    images = ImageSet(
        torch.from_numpy(np.random.default_rng(0).integers(0, 256, (8, 3, 8, 8), dtype=np.uint8)),
        torch.arange(8) % 2, torch.zeros(3, 1, 1), torch.ones(3, 1, 1),
    )  # fmt: skip
    teacher = build("vgg:4-M-4", 3, 8, 2, 1).eval()
    setting = SignalSettings((), True, "per-sample")
    cache = SignalCache(lambda: teacher, images, setting)
    step = Step(build("vgg:4-M-4", 3, 8, 2, 0), training(**fields), setting, teacher=teacher, cache=cache)
    return Loop(Batches(images, training(**fields), seed), step)


def test_views_depend_on_seed_and_step_alone() -> None:
    augment = {"augment": {"flip": True, "shift": 2, "zoom": (0.5, 1.0)}}
    first, second, other = loop(0, **augment), loop(0, **augment), loop(1, **augment)
    second.batch(0), second.noise.manual_seed(9)  # what a method draws, or a process has done before, is no matter
    assert torch.equal(first.batch(2).x, second.batch(2).x)
    assert not torch.equal(first.batch(2).x, other.batch(2).x)
    plain = loop(0)
    assert torch.equal(plain.batch(2).index, first.batch(2).index)
    assert not torch.equal(plain.batch(2).x, first.batch(2).x)


def test_the_teacher_sees_the_student_s_view() -> None:
    made = loop(0, augment={"shift": 3})
    batch = made.batch(1)
    _, theirs = made.signals(batch)
    assert theirs is not None
    assert made.teacher is not None
    assert not isinstance(theirs, TeacherSignals), "cached signals are of the images as they are"
    assert torch.equal(theirs.logits, made.teacher(batch.x).logits)
    _, cached = loop(0).signals(batch)
    assert isinstance(cached, TeacherSignals)
