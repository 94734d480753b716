"""Folders outside the project: where computed things are kept that can be computed again."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path


def cache() -> Path:
    """``JKBENCH_CACHE``, or jkbench's own folder in the user's cache."""
    given = os.environ.get("JKBENCH_CACHE")
    return Path(given).expanduser().resolve() if given else user_cache_path("jkbench")


def data() -> Path:
    """``JKBENCH_DATA``, or ``data`` in the cache: images that a data set has prepared."""
    given = os.environ.get("JKBENCH_DATA")
    return Path(given).expanduser().resolve() if given else cache() / "data"
