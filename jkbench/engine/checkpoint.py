"""Checkpoints: a training resumes in another process.

The file of a teacher lies beside that of the network, that of a trial in the cache. It is written atomically every
minute, read only by the same training (same images, device, threads and torch), and removed when the network or the
record is stored. A resumed training has the bits of one that never stopped.
"""

from __future__ import annotations

import io
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from jkbench import hashing
from jkbench.engine import environment
from jkbench.engine.loop import Loop
from jkbench.errors import UserError
from jkbench.files import write_atomically
from jkbench.records.weights import differences

SECONDS = 60.0
"""Between two checkpoints: the most that a kill loses."""
clock = time.monotonic


class CheckpointWarning(UserWarning):
    """A training restarts although there is a checkpoint, or has none."""


class Checkpoint:
    """The file of one training; only a training of the same ``identity`` (JSON) resumes from it.

    ``obstacle`` says in words why a training cannot be stored now; empty where it can.
    """

    def __init__(self, path: Path, identity: dict[str, Any], obstacle: Callable[[], str] = str) -> None:
        self.path = path
        self.identity = identity
        self._obstacle = obstacle
        self._due = clock() + SECONDS

    def restore(self, loop: Loop) -> None:
        """Resume the loop. It stays at its beginning without a file, and where the file is damaged or belongs to
        another training: a `CheckpointWarning` says so, and the file is overwritten."""
        try:
            stored = self.path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            self._warn(f"it cannot be read: {error.strerror}")
            return
        mark, content = stored[: hashing.LENGTH], stored[hashing.LENGTH :]
        if mark.decode(errors="replace") != hashing.of_bytes(content):
            self._warn("it is damaged")
            return
        held = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        if held["identity"] != self.identity:
            first, _, _ = differences(held["identity"], self.identity).partition("; ")
            self._warn(f"it belongs to another training ({first})")
            return
        loop.resume(held["state"])

    def _warn(self, reason: str) -> None:
        warnings.warn(f"ignoring checkpoint {self.path}: {reason}; restarting", CheckpointWarning, stacklevel=3)

    def save(self, loop: Loop) -> None:
        """Write the file if it is due. A folder that cannot be written does not stop the training."""
        if clock() < self._due:
            return
        if reason := self._obstacle():
            warnings.warn(f"no checkpoints: {reason}; a kill restarts this trial", CheckpointWarning, stacklevel=2)
            self._due = float("inf")
            return
        torch.save({"identity": self.identity, "state": loop.state()}, content := io.BytesIO())
        try:
            write_atomically(self.path, hashing.of_bytes(content.getvalue()).encode() + content.getvalue())
        except UserError:
            return
        finally:
            self._due = clock() + SECONDS

    def remove(self) -> None:
        """The training is over."""
        with suppress(OSError):  # the next training of another identity overwrites it
            self.path.unlink(missing_ok=True)


def surroundings(device: torch.device) -> dict[str, Any]:
    """What decides a training's bits beside its recipe."""
    return {
        "device": environment.device_name(device),
        "kernels": torch.backends.cpu.get_cpu_capability() if device.type == "cpu" else None,
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
    }
