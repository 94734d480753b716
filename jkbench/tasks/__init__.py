"""Tasks: what is benchmarked, declared in one TOML file each."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent


def builtin() -> dict[str, Path]:
    """The tasks that come with the suite, by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.toml"))}
