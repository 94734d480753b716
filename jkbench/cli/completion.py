"""``jkbench completion``: the shell's own script for completing commands, tasks and methods."""

from __future__ import annotations

import click

from jkbench.cli import options


@click.command(epilog=options.examples('eval "$(jkbench completion bash)"'))
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script for a shell."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(context.find_root().command, {}, "jkbench", "_JKBENCH_COMPLETE").source())
