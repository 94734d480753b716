from __future__ import annotations

from pathlib import Path

import pytest

from jkbench.plugins.discovery import Index, discover

ROOT = Path(__file__).parent.parent


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
