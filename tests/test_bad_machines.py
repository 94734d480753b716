"""A clock that jumps, a file system without locks: said, or made good, and no number changes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from test_cli import jkbench, run

from jkbench.records.store import Store, encode


def test_a_clock_that_jumps_back_loses_no_new_result(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Results of another teacher, dated by a clock that was decades ahead, are replaced once and for all."""
    run(capsys, "--methods", "distill")
    board = work / "leaderboard/records/small/distill.jsonl"
    good = Store(work / "leaderboard").read("small").records.values()
    ahead = [
        one.model_copy(
            update={
                "created": "2050-01-01T00:00:00.000+00:00",
                "metrics": {"accuracy": 0.0},
                "teacher": one.teacher and one.teacher.model_copy(update={"weights": "another"}),
            }
        )
        for one in good
    ]
    board.write_text("".join(encode(one) + "\n" for one in ahead))
    assert "(4 of them from another teacher or start)" in run(capsys, "--methods", "distill")[2]
    held = Store(work / "leaderboard").read("small").records
    assert {name: one.metrics for name, one in held.items()} == {one.id: one.metrics for one in good}
    assert "4 done, 0 to run" in run(capsys, "--methods", "distill")[2]


def test_a_clock_that_stands_still_changes_nothing(
    work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times of files and of records are all the same, and in 1970."""
    run(capsys, "--methods", "distill,scratch")
    expected = Store(work / "leaderboard").read("small").records
    for clock in ("time.time", "time.monotonic", "time.perf_counter"):
        monkeypatch.setattr(clock, lambda: 0.0)
    code, _, err = run(capsys, "--methods", "distill,scratch", "--leaderboard", "still")
    assert code == 0, err
    found = Store(work / "still").read("small").records
    assert {name: (one.metrics, one.predictions, one.pairing) for name, one in found.items()} == {
        name: (one.metrics, one.predictions, one.pairing) for name, one in expected.items()
    }


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_folder_without_locks_is_refused_before_anything_is_trained_and_keeps_its_records(
    work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    run(capsys, "--methods", "scratch", "--seeds", "1")
    board = work / "leaderboard/records/small/scratch.jsonl"
    before = board.read_bytes()

    def missing(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", missing)
    for words in ("run --task small.toml --methods scratch --jobs 1", "leaderboard", "remove scratch --yes"):
        code, _, err = jkbench(capsys, *words.split())
        assert code == 2
        assert f"cannot be written or locked: {os.strerror(number)}" in err
    assert board.read_bytes() == before
    assert jkbench(capsys, "status")[0] == 0
