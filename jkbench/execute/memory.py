"""How many trials at a time the machine holds."""

from __future__ import annotations

import os
from pathlib import Path

from jkbench.errors import UserError

ASSUMED_MB = 1024.0
"""A trial's process on CPU where no record tells: most of it is torch itself."""
CONTEXT_MB = 700.0
"""What a process takes of a GPU beside its tensors."""
SHARE = 0.9
"""Of the free memory; the rest is for what nobody has foreseen."""


def available_mb() -> float | None:
    """Free MiB of main memory, of the control group where it has a limit; None where the system does not tell."""
    found = [_meminfo(), _control_group()]
    return min((value for value in found if value is not None), default=None)


def _meminfo() -> float | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**20
    except (ValueError, OSError, AttributeError):
        return None


def _control_group() -> float | None:
    folder = Path("/sys/fs/cgroup")
    try:
        limit, used = ((folder / name).read_text().strip() for name in ("memory.max", "memory.current"))
        if limit == "max":
            return None
        lines = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        # files that were read are dropped when room is needed
        return (int(limit) - int(used) + int(lines.get("inactive_file", 0))) / 2**20
    except (OSError, ValueError):
        return None


def jobs(wanted: int | None, most: int, free_mb: float | None, trial_mb: float, where: str) -> int:
    """Trials at a time: ``wanted``, or (None) as many as ``most`` and the memory allow, at least one.

    ``trial_mb`` is what one takes, ``where`` is memory's owner in words. `UserError` where more are wanted than fit.
    """
    if free_mb is None:
        return most if wanted is None else wanted
    fit = max(1, int(SHARE * free_mb // trial_mb))
    if wanted is None:
        return min(most, fit)
    if wanted > fit:
        raise UserError(
            f"--jobs {wanted}: {wanted} trials of about {trial_mb / 1024:.1f} GiB do not fit into the "
            f"{free_mb / 1024:.1f} GiB that are free of {where}",
            f"take --jobs {fit} or less, or --jobs auto",
        )
    return wanted
