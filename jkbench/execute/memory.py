"""How many trials fit into memory at a time."""

from __future__ import annotations

from pathlib import Path

import psutil

from jkbench.errors import UserError

ASSUMED_MB = 1024.0
"""Memory of one trial's process on CPU while no record says; most of it is torch itself."""
CONTEXT_MB = 700.0
"""GPU memory that a process takes in addition to its tensors."""
QUEUES = 8
"""Streams that a GPU works on at a time, as CUDA has it by default (CUDA_DEVICE_MAX_CONNECTIONS)."""
SHARE = 0.9
"""Fraction of free memory to use."""


def available_mb() -> float:
    """Free MiB of main memory: of the control group (a container), where it allows less than the machine has."""
    return min(psutil.virtual_memory().available / 2**20, _control_group())


def _control_group() -> float:
    """Free MiB of this process's control group, which psutil does not read; infinite without a limit."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit, used = ((folder / name).read_text().strip() for name in ("memory.max", "memory.current"))
        lines = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        # cached files are dropped when memory is short; without a limit, memory.max holds a word
        return (int(limit) - int(used) + int(lines.get("inactive_file", 0))) / 2**20
    except (OSError, ValueError):
        return float("inf")


def fitting(free_mb: float, trial_mb: float) -> int:
    """How many trials of ``trial_mb`` fit into free memory."""
    return int(SHARE * free_mb // trial_mb)


def jobs(wanted: int | None, most: int, free_mb: float, trial_mb: float, where: str) -> int:
    """Trials at a time: ``wanted``, or with None as many as ``most`` and the memory allow, at least one.

    ``trial_mb`` is the memory of one trial; ``where`` names the memory. `UserError` if ``wanted`` do not fit.
    """
    fit = max(1, fitting(free_mb, trial_mb))
    if wanted is None:
        return min(most, fit)
    if wanted > fit:
        raise UserError(
            f"--jobs {wanted}: {wanted} trials of about {trial_mb / 1024:.1f} GiB do not fit into the "
            f"{free_mb / 1024:.1f} GiB that are free in {where}",
            f"use --jobs {fit} or less, or --jobs auto",
        )
    return wanted
