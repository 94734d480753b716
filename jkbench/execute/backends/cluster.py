"""What the back ends of a cluster share: an engine starts the processes there, and some functions run here."""

from __future__ import annotations

from jkbench.execute.backends import processes
from jkbench.execute.request import NO_REQUEST, Request


class ClusterWorkers:
    """Workers that an engine starts elsewhere."""

    streams = False

    def __init__(self, threads: int = 1, request: Request = NO_REQUEST) -> None:
        self._threads, self._request = threads, request
        self._here = processes.Workers(threads)

    def grow(self, jobs: int) -> None:
        """The engine starts its processes itself."""

    def facts(self, device: str) -> tuple[str, float | None]:
        """A GPU where trials ask for one."""
        return self._request.device(device), None
