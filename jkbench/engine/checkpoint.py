"""Checkpoints: a training resumes in another process.

The file lies beside that of the network. It is written atomically every minute, read only by the same recipe over the
same images, and removed when the network is stored. A resumed training has the bits of one that never stopped (on one
device, with the same threads).
"""

from __future__ import annotations

import io
import time
import warnings
from pathlib import Path
from typing import Any

import torch

from jkbench.engine.loop import Loop
from jkbench.errors import UserError
from jkbench.files import write_atomically

SECONDS = 60.0
"""Between two checkpoints: the most that a kill loses."""


class CheckpointWarning(UserWarning):
    """A training restarts although there is a checkpoint."""


class Checkpoint:
    """The file of one training; only a training of the same ``identity`` (JSON) resumes from it."""

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        self.path = path
        self.identity = identity
        self._written = time.monotonic()

    def restore(self, loop: Loop) -> int:
        """Resume the loop, and return how many steps are done: 0 without a file, or where it is damaged or belongs to
        another training (it is then overwritten)."""
        try:
            held = torch.load(self.path, map_location=loop.device, weights_only=True)
            if held["identity"] != self.identity:
                self._warn("it belongs to another training")
                return 0
            state = held["state"]
            state["random"] = state["random"].cpu()
            if state["random_gpu"] is not None:
                state["random_gpu"] = state["random_gpu"].cpu()
            loop.resume(state)
        except FileNotFoundError:
            return 0
        except Exception as error:  # any damage
            self._warn(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
            return 0
        return int(state["next"])

    def _warn(self, reason: str) -> None:
        warnings.warn(f"ignoring checkpoint {self.path}: {reason}; restarting", CheckpointWarning, stacklevel=3)

    def save(self, loop: Loop) -> None:
        """Write the file if the last one is old enough. A folder that cannot be written does not stop the training."""
        if time.monotonic() - self._written < SECONDS:
            return
        content = io.BytesIO()
        torch.save({"identity": self.identity, "state": loop.state()}, content)
        try:
            write_atomically(self.path, content.getvalue())
        except UserError:
            return
        finally:
            self._written = time.monotonic()

    def remove(self) -> None:
        """The training is over."""
        self.path.unlink(missing_ok=True)
