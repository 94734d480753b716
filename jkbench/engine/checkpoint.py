"""A training under way, kept beside the network that it will become, so that it can go on in another process.

Written whole or not at all every minute, read only by the same recipe over the same images, and gone when the network
is kept. A training that went on has the bits of one that never stopped (on one device, with the same threads).
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
"""Between two checkpoints: what a kill loses at most."""


class CheckpointWarning(UserWarning):
    """A training begins anew although there is a checkpoint."""


class Checkpoint:
    """The file of one training; ``identity`` (JSON) is what a training that goes on must have in common with it."""

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        self.path = path
        self.identity = identity
        self._written = time.monotonic()

    def restore(self, loop: Loop) -> int:
        """Let the loop go on where the file stands; the steps that are done. 0 without a file, or where it is of
        another training or damaged: it is then written over."""
        try:
            held = torch.load(self.path, map_location=loop.device, weights_only=True)
            if held["identity"] != self.identity:
                self._warn("it is of another training")
                return 0
            state = held["state"]
            state["random"] = state["random"].cpu()
            if state["random_gpu"] is not None:
                state["random_gpu"] = state["random_gpu"].cpu()
            loop.resume(state)
        except FileNotFoundError:
            return 0
        except Exception as error:  # whatever is wrong with it
            self._warn(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
            return 0
        return int(state["next"])

    def _warn(self, reason: str) -> None:
        told = f"the checkpoint {self.path} is not gone on from ({reason}): the training begins anew"
        warnings.warn(told, CheckpointWarning, stacklevel=3)

    def keep(self, loop: Loop) -> None:
        """Write the file, where the last one is old enough. A folder that cannot be written is no reason to stop."""
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
