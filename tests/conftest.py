from __future__ import annotations

import os
import sys
from pathlib import Path

# Before torch is imported: small networks gain nothing from a second thread, and two threads on busy cores wait
# for each other. Processes that the tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from user_folder import make_folder

from jkbench.execute import backends
from jkbench.plugins.discovery import Index, discover

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The tests' own cache of signals, for processes that they start too."""
    os.environ["JKBENCH_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _in_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials run in this process, which spares seconds of imports a test; those marked `processes` start workers."""
    if request.node.get_closest_marker("processes") is None:
        monkeypatch.setitem(backends.BACK_ENDS, "processes", backends.BACK_ENDS["serial"])


@pytest.fixture(scope="session")
def index() -> Index:
    return discover(working=ROOT)


@pytest.fixture(scope="session")
def references(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where small teachers are trained once a session."""
    return tmp_path_factory.mktemp("references")


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder: no ./methods, no records."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def work(nowhere: Path) -> Path:
    """A user's folder, which is the working folder."""
    return make_folder(nowhere)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """After `make bench`: every method's step as a multiple of a plain cross-entropy step."""
    medians: dict[str, float] = getattr(sys.modules.get("test_bench"), "MEDIANS", {})
    if "scratch" not in medians:
        return
    terminalreporter.section("one step, as a multiple of a cross-entropy step")
    for name, median in sorted(medians.items(), key=lambda item: item[1]):
        terminalreporter.write_line(f"{name:<20} {1000 * median:7.2f} ms  {median / medians['scratch']:5.2f}")
