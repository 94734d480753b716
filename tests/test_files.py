"""Locks hold between processes, go with a killed holder, and say in words where they cannot be taken."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from jkbench.errors import UserError
from jkbench.files import locked

HOLD = """
import sys, time
from pathlib import Path
from jkbench.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""
TRY = """
import sys
from filelock import FileLock, Timeout
try:
    FileLock(sys.argv[1], timeout=0).acquire()
    print("free")
except Timeout:
    print("held")
"""


def state_of(lock: Path) -> str:
    """Whether another process could take the lock now."""
    return subprocess.run([sys.executable, "-c", TRY, lock], capture_output=True, text=True, check=True).stdout.strip()


def test_a_lock_excludes_other_processes_until_it_is_released(tmp_path: Path) -> None:
    lock = tmp_path / "new folder" / ".lock"
    with locked(lock):
        assert state_of(lock) == "held"
    assert state_of(lock) == "free"


def test_a_killed_holder_releases_its_lock(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, lock], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    assert state_of(lock) == "held"
    holder.kill()
    holder.wait()
    with locked(lock):
        assert state_of(lock) == "held"


def test_a_lock_that_cannot_be_taken_is_the_users_to_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / ".lock", tmp_path / "folder"):
        with pytest.raises(UserError, match="cannot be written or locked") as caught, locked(path):
            pass
        assert "--leaderboard DIR" in caught.value.hint


def test_a_file_system_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's other lock, a mere file, would outlive a holder that is killed."""

    def missing(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", missing)
    with pytest.raises(UserError, match="locked: Function not implemented"), locked(tmp_path / ".lock"):
        pass
