"""The board of a folder while a run goes on: a page that renews itself, on this machine alone unless told otherwise."""

from __future__ import annotations

import errno
import threading
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from jkbench import hashing
from jkbench.errors import UserError
from jkbench.plugins.discovery import Index
from jkbench.records.select import every
from jkbench.records.store import Store
from jkbench.report.board.page import Part, part, render
from jkbench.report.leaderboard import document
from jkbench.report.page import compose
from jkbench.tasks.shots import SplitName

PARTS = ("records", "inflight", "repeats", "choices", "tasks", "teachers")


class Board:
    """The board of a leaderboard folder, made again where its records have changed. Nothing is written."""

    def __init__(self, folder: Path, index: Index, split: SplitName = "test", beside: Sequence[Path] = ()) -> None:
        if not folder.is_dir():
            raise UserError(f"there is no folder {folder}", "name a leaderboard folder with --leaderboard DIR")
        if any(folder.iterdir()) and not any((folder / name).is_dir() for name in PARTS):
            raise UserError(f"{folder} is not a leaderboard folder", "it has records/ or inflight/: see jkbench run")
        self.store, self.index, self.split = Store(folder, beside), index, split
        self._made: dict[str, tuple[str, list[Part]]] = {}
        self._lock = threading.Lock()

    def _stamp(self, task: str) -> str:
        """Of all files that decide a task's pages: their names, sizes and times."""
        names = (f"records/{task}/*", f"inflight/{task}/*/*", f"repeats/{task}/*", f"*/{task}.*")
        told = []
        for path in sorted(path for folder in self.store.folders for name in names for path in folder.glob(name)):
            try:
                found = path.stat()
            except FileNotFoundError:  # folded meanwhile
                continue
            told.append(f"{path} {found.st_size} {found.st_mtime_ns}")
        return hashing.of_value(told)

    def version(self) -> str:
        """Another text where the board would be another."""
        return hashing.of_value({task: self._stamp(task) for task in self.store.tasks()})

    def html(self) -> str:
        """The page; only tasks whose records have changed are made again."""
        with self._lock:
            for task in self.store.tasks():
                stamp = self._stamp(task)
                if self._made.get(task, ("", []))[0] != stamp:
                    chosen = every(self.store, self.index, self.split, [], self.store.read, [task])
                    pages = map(compose, chosen)
                    self._made[task] = stamp, [part(page, document(page), self.index) for page in pages]
            there = set(self.store.tasks())
            return render([one for task, (_, parts) in self._made.items() if task in there for one in parts], poll=True)


def server(board: Board, host: str, port: int) -> ThreadingHTTPServer:
    """A server of the board, which listens and does not serve yet. `UserError` for a port that cannot be taken."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers = {"/": ("text/html", board.html), "/version": ("text/plain", board.version)}
            kind, answer = answers.get(self.path.partition("?")[0], ("", None))
            if answer is None:
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            try:
                content = answer().encode()
            except UserError as error:
                self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR, explain=error.message)
                return
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing: a reader's polling is no news."""

    try:
        return ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        told = "is in use" if taken else f"cannot be taken: {error.strerror}"
        raise UserError(f"port {port} of {host} {told}", "give another with --port N; 0 takes any free one") from None
    except OverflowError:
        raise UserError(f"{port} is not a port", "give one from 0 to 65535") from None
