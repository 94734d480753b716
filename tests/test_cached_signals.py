"""The teacher's signals on disk: computed once for all seeds and processes, never another's, never a damaged one."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import small
import torch
from numpy.typing import NDArray

from jkbench.engine import images as image_sets
from jkbench.engine import signal_store
from jkbench.engine.setup import make_ready, trained_networks
from jkbench.engine.signal_store import CacheWarning, Mapped, SignalStore
from jkbench.engine.trial import run
from jkbench.errors import UserError
from jkbench.models.network import Network
from jkbench.plugins.discovery import Index

IMAGES = 12


def squares(positions: NDArray[np.int64]) -> NDArray[np.float32]:
    return np.stack([np.full((2, 3), at * at, dtype=np.float32) for at in positions])


def store(folder: Path, teacher: str = "a") -> SignalStore:
    return SignalStore(folder / "signals", {"teacher": teacher}, IMAGES)


class Counted:
    """`squares`, and for which images it was asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        self.asked += positions.tolist()
        return squares(positions)


def test_each_image_is_computed_once_and_comes_back_in_the_order_that_is_asked_for(tmp_path: Path) -> None:
    counted = Counted()
    for wanted in ([3, 1], [1, 2, 3], [2, 1, 11]):
        positions = np.array(wanted)
        got = store(tmp_path).signal("jacobian correct").obtain(positions, counted)
        assert np.array_equal(got, squares(positions))
    assert counted.asked == [3, 1, 2, 11]


def test_what_is_large_stays_in_its_file_and_reads_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal_store, "HELD", 0)
    positions = np.array([7, 2, 5, 11])
    got = store(tmp_path).signal("logits").obtain(positions, squares)
    assert isinstance(got, Mapped)
    assert got.nbytes == squares(positions).nbytes
    for index in (slice(None), slice(1, 3), np.array([3, 0, 0]), np.array([], dtype=np.int64)):
        assert np.array_equal(got[index], squares(positions)[index])
    assert np.array_equal(got[2], squares(positions)[2])


def test_what_was_computed_before_a_stop_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values are written some at a time: no more are in memory, and no more are lost."""
    monkeypatch.setattr(signal_store, "CHUNK", 2)
    monkeypatch.setattr(signal_store, "BLOCK", 1)
    parts: list[list[int]] = []

    def stopped(positions: NDArray[np.int64]) -> NDArray[np.float32]:
        parts.append(positions.tolist())
        if len(parts) == 3:
            raise KeyboardInterrupt
        return squares(positions)

    with pytest.raises(KeyboardInterrupt):
        store(tmp_path).signal("logits").obtain(np.arange(7), stopped)
    assert parts == [[0, 1], [2, 3], [4, 5]]
    counted = Counted()
    got = store(tmp_path).signal("logits").obtain(np.arange(7), counted)
    assert counted.asked == [4, 5, 6]
    assert np.array_equal(got, squares(np.arange(7)))


def test_another_teacher_or_another_estimator_has_a_folder_of_its_own(tmp_path: Path) -> None:
    counted, positions = Counted(), np.array([4])
    for teacher, name in (("a", "logits"), ("b", "logits"), ("a", "jacobian largest"), ("a", "logits")):
        store(tmp_path, teacher).signal(name).obtain(positions, counted)
    assert counted.asked == [4, 4, 4]
    assert len(list((tmp_path / "signals").iterdir())) == 3


def test_a_folder_that_holds_anothers_signal_is_refused_with_what_differs(tmp_path: Path) -> None:
    mine, other = store(tmp_path).signal("logits"), store(tmp_path, "b").signal("jacobian full")
    other.obtain(np.array([1]), squares)
    shutil.copytree(other.folder, mine.folder)
    with pytest.raises(UserError) as caught:
        mine.obtain(np.array([1]), squares)
    assert "teacher 'b', not 'a'" in caught.value.message
    assert "signal 'jacobian full', not 'logits'" in caught.value.message
    assert f"delete {mine.folder}" in caught.value.hint


@pytest.mark.parametrize("damage", ["a flipped byte", "a truncated file", "no rows at all", "a truncated index"])
def test_damaged_values_are_computed_again_and_never_used(tmp_path: Path, damage: str) -> None:
    signal, positions = store(tmp_path).signal("logits"), np.arange(6)
    signal.obtain(positions, squares)
    rows, index = signal.folder / "rows.bin", signal.folder / "index.bin"
    content = rows.read_bytes()
    if damage == "a flipped byte":
        rows.write_bytes(content[:30] + bytes([content[30] ^ 1]) + content[31:])
    elif damage == "a truncated file":
        rows.write_bytes(content[:70])
    elif damage == "no rows at all":
        rows.unlink()
    else:
        index.write_bytes(index.read_bytes()[:30])
    counted = Counted()
    if damage in ("a flipped byte", "a truncated file"):
        with pytest.warns(CacheWarning, match="are damaged"):
            got = signal.obtain(positions, counted)
    else:
        got = signal.obtain(positions, counted)
    assert np.array_equal(got, squares(positions))
    assert 0 < len(counted.asked) <= 6
    again = Counted()
    assert np.array_equal(signal.obtain(positions, again), squares(positions))
    assert again.asked == []


@pytest.mark.parametrize("content", [None, "", "[0]", "{}"])
def test_without_a_sound_shape_values_are_computed_once_more_and_kept(tmp_path: Path, content: str | None) -> None:
    signal, positions = store(tmp_path).signal("logits"), np.arange(4)
    signal.obtain(positions, squares)
    shape = signal.folder / "shape.json"
    shape.unlink() if content is None else shape.write_text(content)
    # an empty shape is that of single numbers, which these are not: their checksums do not fit
    warned = pytest.warns(CacheWarning) if content == "{}" else contextlib.nullcontext()
    for expected in ([0, 1, 2, 3], []):
        counted = Counted()
        with warned if expected else contextlib.nullcontext():
            assert np.array_equal(signal.obtain(positions, counted), squares(positions))
        assert counted.asked == expected


def test_an_identity_that_is_none_is_refused(tmp_path: Path) -> None:
    signal = store(tmp_path).signal("logits")
    signal.obtain(np.arange(2), squares)
    for content in ("[1]", "{half"):
        (signal.folder / "identity.json").write_text(content)
        with pytest.raises(UserError, match="cannot be read"):
            signal.obtain(np.arange(2), squares)


def test_a_full_disk_is_said_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: object) -> None:
        raise UserError(f"{path} cannot be written: {os.strerror(28)}")

    monkeypatch.setattr(signal_store, "write_atomically", full)
    with pytest.warns(CacheWarning, match=r"No space left on device(.|\n)*set JKBENCH_CACHE"):
        got = store(tmp_path).signal("logits").obtain(np.array([2, 3]), squares)
    assert np.array_equal(got, squares(np.array([2, 3])))


def test_a_cache_that_cannot_be_written_is_said_and_what_is_in_it_is_used(tmp_path: Path) -> None:
    (tmp_path / "signals").write_text("a file where a folder should be")
    with pytest.warns(CacheWarning, match="cannot be used: "):
        got = store(tmp_path).signal("logits").obtain(np.array([5]), squares)
    assert np.array_equal(got, squares(np.array([5])))


def _obtain(folder: Path, log: Path, positions: list[int]) -> None:
    def logged(missing: NDArray[np.int64]) -> NDArray[np.float32]:
        with log.open("a") as stream:
            stream.write("".join(f"{at}\n" for at in missing))
        return squares(missing)

    got = SignalStore(folder, {"signal": "x"}, IMAGES).obtain(np.array(positions), logged)
    assert np.array_equal(got, squares(np.array(positions)))


def test_a_trial_that_reads_signals_from_their_file_gives_the_same_record(
    index: Index, references: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial, found = small.trial(index, "jacobian"), []
    for limit in (signal_store.HELD, 0):
        monkeypatch.setattr(signal_store, "HELD", limit)
        found.append(run(trial, replace(small.where(references), cache=tmp_path / str(limit))))
    first, second = found
    assert first.status == second.status == "ok"
    assert (first.metrics, first.predictions, first.curves) == (second.metrics, second.predictions, second.curves)


def test_processes_share_the_work(tmp_path: Path) -> None:
    context, log = multiprocessing.get_context("fork"), tmp_path / "log"
    started = [
        context.Process(target=_obtain, args=(tmp_path / "x", log, [(3 * at + n) % IMAGES for n in range(5)]))
        for at in range(6)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(60)
        assert process.exitcode == 0
    computed = sorted(map(int, log.read_text().split()))
    assert computed == list(range(IMAGES))  # each once


@pytest.mark.parametrize("method", ["jacobian", "attention-jacobian", "attention", "lwf-jacobian"])
def test_a_trial_has_the_same_numbers_with_and_without_the_cache_and_whatever_filled_it(
    index: Index, references: Path, tmp_path: Path, method: str
) -> None:
    without = run(small.trial(index, method, seed=1), small.where(references))
    for seed in (0, 2):  # other subsets, which share images with the trial's
        run(small.trial(index, method, seed=seed), small.where(references, cache=tmp_path))
    within = run(small.trial(index, method, seed=1), small.where(references, cache=tmp_path))
    assert within.status == "ok", within.message
    assert (within.metrics, within.predictions, within.curves) == (
        without.metrics, without.predictions, without.curves,
    )  # fmt: skip


def test_another_seed_computes_only_the_images_that_no_earlier_one_had(
    index: Index, references: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches that the teacher sees while the student trains."""
    seen: list[int] = []
    plain = Network.forward

    def forward(self: Network, x: torch.Tensor) -> object:
        if not next(self.parameters()).requires_grad:
            seen.append(len(x))
        return plain(self, x)

    def trained(seed: int) -> int:
        made = small.trial(index, "jacobian", seed=seed)
        data = image_sets.of_task(made.task, made.datasets)
        obtain = trained_networks(made, small.where(references), data)
        ready = make_ready(made, small.CPU, data, obtain, cache=tmp_path)
        seen.clear()
        with monkeypatch.context() as patched:
            patched.setattr(Network, "forward", forward)
            ready.method.fit(ready.loop)
        return len(seen)

    assert trained(0) == 2  # logits and Jacobian, one batch each
    assert trained(0) == 0
    assert 1 <= trained(1) <= 2  # the new images of its subset alone
    assert trained(1) == 0


def test_the_record_says_what_the_signals_took(index: Index, references: Path, tmp_path: Path) -> None:
    first, second = (run(small.trial(index, "jacobian"), small.where(references, cache=tmp_path)) for _ in range(2))
    assert first.cost is not None
    assert second.cost is not None
    assert first.cost.signals_seconds > 0
    assert second.cost.signals_seconds > 0  # reading takes time, too
    assert first.cost.seconds > 0


def test_the_command_line_says_it_in_a_sentence_and_finishes(work: Path, tmp_path: Path) -> None:
    (blocked := work / "blocked").write_text("no folder")
    done = subprocess.run(
        [sys.executable, "-m", "jkbench", "run", "--task", "small.toml", "--methods", "distill", "--shots", "2",
         "--seeds", "2", "--jobs", "2"],
        cwd=work, env={**os.environ, "JKBENCH_CACHE": str(blocked)}, capture_output=True, text=True, check=False,
        timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "jkbench: warning: the cache of signals" in done.stderr
    assert "set JKBENCH_CACHE" in done.stderr
    assert "Traceback" not in done.stderr
    lines = (work / "leaderboard/records/small/distill.jsonl").read_text().splitlines()
    assert [json.loads(line)["status"] for line in lines] == ["ok", "ok"]
