"""``jkbench check FILE``: a plugin against its contract."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from jkbench.cli import options


@click.command(epilog=options.examples("jkbench check methods/jacobian.py"))
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--timeout", type=float, default=60.0, show_default=True, metavar="SECONDS",
    help="Stop if no step finishes within this time.",
)  # fmt: skip
@options.executor
@options.in_process
@options.as_json
def check(file: Path, timeout: float, executor: str, in_process: bool, as_json: bool) -> int:
    """Test a plugin file against the contract.

    Runs on the CPU, in seconds. Exits with 1 if the plugin breaks a rule."""
    from jkbench.execute.run import check_plugin

    findings: list[dict[str, Any]] = []
    for finding in check_plugin(
        file, options.make_resources(timeout=timeout, executor=executor, in_process=in_process)
    ):
        findings.append(finding)
        if not as_json:
            mark = click.style("holds", fg="green") if finding["held"] else click.style("FAILS", fg="red", bold=True)
            click.echo(f"{mark}  {finding['what']}" + (f": {finding['seen']}" if finding["seen"] else ""))
    failed = sum(not finding["held"] for finding in findings)
    if as_json:
        click.echo(json.dumps({"file": str(file), "held": failed == 0, "findings": findings}, indent=2))
    else:
        click.echo(f"{file}: {len(findings) - failed} of {len(findings)} hold")
    return 1 if failed else 0
