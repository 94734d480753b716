"""``jkbench serve``: the board of a folder, while a run goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from jkbench.cli import options


@click.command(epilog=options.examples("jkbench serve --leaderboard demo", "jkbench serve --port 0"))
@options.plugins
@options.leaderboard_folder
@options.beside
@options.split
@click.option("--port", type=int, default=8765, show_default=True, metavar="N", help="Port; 0 takes any free one.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="NAME",
    help="Address to listen on; default: this machine.",
)
def serve(plugins: tuple[Path, ...], folder: Path, beside: tuple[Path, ...], split: Any, port: int, host: str) -> None:
    """Show the board of a leaderboard folder in a browser.

    The page reloads when records arrive. Nothing is written. Ctrl-C stops it."""
    from jkbench.execute.serve import Board, server
    from jkbench.plugins.discovery import discover

    with server(Board(folder, discover(plugins), split, beside), host, port) as found:
        click.echo(f"{folder}: http://{found.server_address[0]!s}:{found.server_address[1]}/ (Ctrl-C stops it)")
        found.serve_forever()
