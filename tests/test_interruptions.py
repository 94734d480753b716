"""Ctrl-C, a stop, a worker that dies: nothing finished is lost, nobody is left behind, no number changes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from user_folder import METHOD

from jkbench.records.store import Store


def started(work: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "jkbench", "run", "--task", "slow.toml", "--methods", "distill,scratch", "--seeds", "30",
         *arguments],
        cwd=work, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        # a shell that runs the tests in the background has its children ignore Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


INTERRUPTED = (130, -signal.SIGINT)
"""A shell's 130 in both: ``python -m`` ends by the signal itself where the interrupt went through an ``exec`` of text,
as the standard library's dataclasses have it while modules are imported."""


def wait_for_records(work: Path, count: int) -> None:
    deadline = time.monotonic() + 120
    while len(list((work / "leaderboard/inflight").rglob("*.json"))) < count:
        assert time.monotonic() < deadline, "no record came"
        time.sleep(0.05)


def alive(session: int) -> bool:
    """Whether a process of that session runs: workers have groups of their own."""
    for process in psutil.process_iter(["status"]):
        try:
            if os.getsid(process.pid) == session and process.info["status"] != psutil.STATUS_ZOMBIE:
                return True
        except (ProcessLookupError, PermissionError):
            continue
    return False


def everybody_gone(session: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while alive(session) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not alive(session)


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_keeps_what_is_finished_and_leaves_no_worker(work: Path, jobs: str) -> None:
    running = started(work, "--jobs", jobs)
    wait_for_records(work, 3)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does: everybody gets it
    _, err = running.communicate(timeout=30)
    assert running.returncode in INTERRUPTED, err
    assert "Traceback" not in err
    assert "finished trials are stored" in err
    assert everybody_gone(running.pid, 5)
    assert not list((work / "leaderboard/inflight").rglob("*.json"))  # folded on the way out
    kept = Store(work / "leaderboard").read("slow")
    assert len(kept.records) >= 3
    assert kept.complaints() == []


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_before_anything_is_trained_leaves_no_worker(work: Path, stop: signal.Signals) -> None:
    """While the first worker still imports."""
    running = started(work, "--jobs", "2")
    assert running.stderr is not None
    running.stderr.readline()  # the plan is told before workers are started
    time.sleep(0.3)
    running.send_signal(stop)
    _, err = running.communicate(timeout=30)
    assert running.returncode in INTERRUPTED, err
    assert "Traceback" not in err
    assert everybody_gone(running.pid, 10)


def test_a_worker_killed_from_outside_costs_no_trial(work: Path) -> None:
    """A method that kills its own process: twice is a failed record, and the others finish."""
    (work / "methods/deadly.py").write_text(
        METHOD.replace("        yield", "        import os; os._exit(9)\n        yield")
    )
    done = subprocess.run(
        [sys.executable, "-m", "jkbench", "run", "--task", "small.toml", "--methods", "deadly,scratch,distill",
         "--jobs", "2", "--seeds", "1"],
        cwd=work, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    records = Store(work / "leaderboard").read("small").records.values()
    assert {(r.method, r.shots): r.status for r in records} == {
        ("deadly", 2): "failed", ("deadly", 4): "failed", ("scratch", 2): "ok", ("scratch", 4): "ok",
        ("distill", 2): "ok", ("distill", 4): "ok",
    }  # fmt: skip
    assert all("the worker exited with status 9" in (r.message or "") for r in records if r.status == "failed")


def test_jobs_change_no_number(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for jobs in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-m", "jkbench", "run", "--task", "small.toml", "--methods", "jacobian,noise",
             "--jobs", jobs, "--leaderboard", f"board{jobs}"],
            cwd=work, capture_output=True, text=True, check=False, timeout=240,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    one, two = (Store(work / f"board{jobs}").read("small").records for jobs in ("1", "2"))
    assert len(one) == 8
    assert {name: (r.metrics, r.predictions, r.pairing, r.teacher) for name, r in one.items()} == {
        name: (r.metrics, r.predictions, r.pairing, r.teacher) for name, r in two.items()
    }
