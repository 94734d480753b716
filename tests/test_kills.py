"""Kills at random moments: nothing finished is lost, nobody is left behind, the same command ends in the same tables.

Three kills in the suite, fifty in the night setting (`make night`).
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import night
import psutil
import pytest
from click.testing import CliRunner
from test_interruptions import everybody_gone

from jkbench.cli import cli
from jkbench.records.schema import Cost, Record
from jkbench.records.store import Store

KINDS = ("parent", "group", "child")
FINISHED = re.compile(r"^\[(\d+)/\d+\]")
COST = Cost(seconds=1, step_ms=1, steps=4, peak_memory_mb=1, trainable_parameters=1, alone=True)


def started(folder: Path, jobs: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "jkbench", "run", "--task", "../small.toml", "--methods", "distill,scratch",
         "--seeds", "4", "--jobs", str(jobs)],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "JKBENCH_CACHE": str(folder / "cache")},
    )  # fmt: skip


def records_of(folder: Path) -> dict[str, Record]:
    """All that is stored; nothing in it is half-written."""
    loaded = Store(folder / "leaderboard").read("small")
    assert loaded.complaints() == []
    return loaded.records


def tables(folder: Path, pages: Path) -> dict[str, bytes]:
    """All bytes of the pages, the records and the teacher, with costs and dates that are the same for everybody."""
    store = Store(pages)
    for record in records_of(folder).values():
        store.put(record.model_copy(update={"cost": COST, "created": "2026-01-01T00:00:00+00:00"}))
    (pages / "tasks").mkdir()
    (pages / "tasks/small.toml").write_bytes((folder / "leaderboard/tasks/small.toml").read_bytes())
    done = CliRunner().invoke(cli, ["leaderboard", "--leaderboard", str(pages)], standalone_mode=False)
    assert done.exception is None
    written = {str(path.relative_to(pages)): path.read_bytes() for path in pages.rglob("*") if path.is_file()}
    return written | {path.name: path.read_bytes() for path in (folder / "leaderboard/teachers").glob("*.safetensors")}


def finish(folder: Path, jobs: int) -> int:
    """Run the command to its end; how many lines it told."""
    running = started(folder, jobs)
    _, err = running.communicate(timeout=300)
    assert running.returncode == 0, err
    return len(err.splitlines())


def kill(running: subprocess.Popen[str], kind: str, draw: random.Random) -> bool:
    """Kill what ``kind`` names; False where it has ended before."""
    try:
        if kind == "parent":
            running.kill()
        elif kind == "group":
            os.killpg(running.pid, signal.SIGKILL)
        else:
            draw.choice(psutil.Process(running.pid).children(recursive=True)).kill()
    except (IndexError, psutil.NoSuchProcess, ProcessLookupError):
        return False
    return running.poll() in (None, -signal.SIGKILL)


def killed_once(folder: Path, jobs: int, kind: str, lines: int, draw: random.Random) -> bool:
    """One run that is killed some milliseconds after one of its lines; False where it ended before."""
    before = set(records_of(folder))
    after, pause = draw.randint(1, max(1, lines - len(before))), draw.uniform(0, 0.2)
    running, told = started(folder, jobs), []
    assert running.stderr is not None
    for line in running.stderr:
        told.append(line)
        if len(told) == after:
            break
    time.sleep(pause)
    hit = kill(running, kind, draw)
    _, rest = running.communicate(timeout=300)
    assert everybody_gone(running.pid, 3), f"processes are left 3 s after a kill of the {kind}"
    whole = "".join(told) + rest
    assert "Traceback" not in whole
    assert running.returncode in ((0, 2) if kind == "child" or not hit else (-signal.SIGKILL,)), whole
    kept = records_of(folder)
    assert before <= set(kept)
    assert len(kept) - len(before) >= sum(bool(FINISHED.match(line)) for line in told), "a finished record is lost"
    return hit


@pytest.mark.processes
def test_kills_at_random_moments_lose_nothing_and_change_no_table(work: Path) -> None:
    draw, kills, folders = random.Random(18), Counter[str](), 0
    (work / "undisturbed").mkdir()
    lines = finish(work / "undisturbed", 1)
    expected = tables(work / "undisturbed", work / "expected")
    assert len(records_of(work / "undisturbed")) == 16
    while kills.total() < night.times(3, 50):
        folder = work / f"killed{folders}"
        folder.mkdir()
        while len(records_of(folder)) < 16 and kills.total() < night.times(3, 50):
            kind, jobs = KINDS[kills.total() % 3], 2 - kills.total() % 2
            kills[f"{kind}, {jobs} jobs"] += killed_once(folder, jobs, kind, lines, draw)
        finish(folder, 2)
        assert tables(folder, work / f"pages{folders}") == expected
        folders += 1
    print(f"{kills.total()} kills, {folders} folders: {dict(kills)}")
