"""The command line. Each command is a module of its own; what is slow to import is imported when it is needed."""

from __future__ import annotations

import sys
from typing import NoReturn

import click

from jkbench import __version__
from jkbench.cli import options
from jkbench.cli.check import check
from jkbench.cli.compare import compare
from jkbench.cli.completion import completion
from jkbench.cli.data import data
from jkbench.cli.demo import demo
from jkbench.cli.leaderboard import leaderboard
from jkbench.cli.listing import list_
from jkbench.cli.merge import merge
from jkbench.cli.new import new
from jkbench.cli.plan import plan
from jkbench.cli.power import power
from jkbench.cli.profile import profile
from jkbench.cli.remove import remove
from jkbench.cli.reproduce import reproduce
from jkbench.cli.run import run
from jkbench.cli.serve import serve
from jkbench.cli.status import status
from jkbench.cli.teacher import teacher
from jkbench.cli.theory import theory
from jkbench.cli.tune import tune
from jkbench.cli.verify import rerun, verify
from jkbench.errors import UserError

EXAMPLES = options.examples("jkbench run --methods all --task digits-fewshot", "jkbench leaderboard")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}, epilog=EXAMPLES)
@click.version_option(__version__, prog_name="jkbench")
def cli() -> None:
    """Knowledge transfer with little data: every method on the same data, teacher, start and budget.

    Exit codes: 0 done, 1 some trial failed, 2 wrong usage, 130 interrupted.
    """


for command in (
    demo, run, tune, plan, list_, new, check, leaderboard, status, merge, remove, verify, rerun, compare, power,
    profile, data, teacher, serve, reproduce, theory, completion,
):  # fmt: skip
    cli.add_command(command)


def main(arguments: list[str] | None = None) -> NoReturn:
    """The ``jkbench`` command: a user's mistake is a sentence and a hint, never a traceback."""
    try:
        code = cli.main(args=arguments, prog_name="jkbench", standalone_mode=False)
    except UserError as error:
        click.echo(f"jkbench: {error}", err=True)
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("jkbench: interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    sys.exit(code if isinstance(code, int) else 0)
