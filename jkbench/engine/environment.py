"""Where a trial runs: versions, device, precision, and the memory it takes. Neither host nor user name."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import torch

import jkbench
from jkbench.errors import UserError
from jkbench.records.schema import Environment
from jkbench.tasks.task import Precision

CPU = torch.device("cpu")


def device(name: str) -> torch.device:
    """The device of ``auto``, ``cpu`` or ``cuda``. `UserError` for another name, or where CUDA is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda"):
        raise UserError(f"there is no device {name!r}", "auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch sees no CUDA device here", "use --device cpu or auto")
    return torch.device(name)


def prepare(where: torch.device = CPU) -> None:
    """Make this process fit to train: plain float32, the same bits each time, memory that stays with the process.

    A kernel that sums in any order on a GPU warns.
    """
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    if where.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before the first product: else in any order
        torch.backends.cudnn.deterministic = True
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.use_deterministic_algorithms(True, warn_only=True)
    trim()  # what earlier trials left: the peak of this one is its own


@contextmanager
def modes_kept() -> Iterator[None]:
    """Put back torch's global modes that a plugin changes inside: the next trial of this process would inherit them."""
    dtype, grad, threads = torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads()
    place, exact = torch.get_default_device(), torch.are_deterministic_algorithms_enabled()
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(grad)
        torch.set_num_threads(threads)
        if torch.are_deterministic_algorithms_enabled() != exact:  # setting it imports the compiler
            torch.use_deterministic_algorithms(exact)
        if torch.get_default_device() != place:
            torch.set_default_device(place)


def trim() -> None:
    """Give back to the system what this process has freed: once between stages, not between steps."""
    if _kept_memory():
        _libc().malloc_trim(0)


_pulses: list[Callable[[], None]] = []


def set_pulse(alive: Callable[[], None]) -> None:
    """Have ``alive`` called at every `beat`: a process that waits for this one sees that it computes."""
    _pulses[:] = [alive]


def beat() -> None:
    """A sign of life: between steps, and between parts of what takes long."""
    for alive in _pulses:
        alive()


# of glibc's malloc.h
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_KEPT_MIB = 24
"""Tensors up to this size stay with the process: those of 64 images of a VGG on CIFAR are 16 MiB."""


@lru_cache(maxsize=1)
def _kept_memory() -> bool:
    """Tell glibc to keep freed memory for the next tensor; False on other systems.

    By default every tensor of more than some 100 KiB is given back to the system when it is freed, and the next one
    of its size is page by page faulted in again: a fifth of a step of VGG-4 on CPU (docs/performance.md). Larger
    ones go back: kept, they seldom fit a later tensor, and a step of a ResNet-18 on photographs took 14 % more.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = _libc().mallopt
    kept = mallopt(_M_MMAP_THRESHOLD, _KEPT_MIB * 2**20)
    return bool(kept and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1) and mallopt(_M_TOP_PAD, 2**26))


@lru_cache(maxsize=1)
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def device_name(where: torch.device) -> str:
    """The GPU's model, or the CPU's architecture."""
    return torch.cuda.get_device_name(where) if where.type == "cuda" else f"cpu ({platform.machine()})"


@lru_cache(maxsize=1)
def processor() -> str | None:
    """The CPU's model; None where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)


def describe(where: torch.device, precision: Precision = "float32") -> Environment:
    """The record's account of this process."""
    commit, dirty = revision()
    return Environment(
        jkbench=jkbench.__version__,
        python=platform.python_version(),
        torch=torch.__version__,
        device=device_name(where),
        processor=processor() if where.type == "cpu" else None,
        threads=torch.get_num_threads(),
        precision=precision,
        platform=f"{platform.system()}-{platform.machine()}",
        commit=commit,
        dirty=dirty,
    )


@lru_cache(maxsize=1)
def revision() -> tuple[str | None, bool | None]:
    """The git commit of the suite's checkout, and whether its code has uncommitted changes; none outside one."""
    top = Path(jkbench.__file__).parent.parent
    if not (top / ".git").exists():
        return None, None

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(top), *words], capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--", "jkbench", "methods", "datasets"))
    except (OSError, subprocess.SubprocessError):
        return None, None


def free_memory_mb() -> float:
    """Free MiB of the present GPU: of the device, and of what this process keeps for its next tensors."""
    kept = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    return (torch.cuda.mem_get_info()[0] + kept) / 2**20


def reset_peak_memory(where: torch.device) -> None:
    """Reset the peak: of the device, or of this process where the system allows it (Linux)."""
    if where.type == "cuda":
        torch.cuda.reset_peak_memory_stats(where)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_memory_mb(where: torch.device) -> float:
    """Peak MiB since the reset: allocated on the device, or resident in this process."""
    if where.type == "cuda":
        return torch.cuda.max_memory_allocated(where) / 2**20
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 1024)
