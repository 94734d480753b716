"""The night setting: `make night` tries a fault as often as a suite of minutes cannot."""

from __future__ import annotations

import os
from typing import TypeVar

NIGHT = os.environ.get("JKBENCH_NIGHT") == "1"


T = TypeVar("T")


def times(by_day: T, at_night: T) -> T:
    """How often something is tried, or with what."""
    return at_night if NIGHT else by_day
