"""``jkbench check FILE``: a plugin against its contract."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from jkbench.cli import options

EPILOG = """\b
Example:
  jkbench check methods/jacobian.py
"""


@click.command(epilog=EPILOG)
@click.argument("file", type=click.Path(path_type=Path))
@options.as_json
def check(file: Path, as_json: bool) -> int:
    """Try a plugin file against the contract.

    On CPU, in seconds. Exit code 1 where it does not hold."""
    from jkbench.engine.check import check as findings_of

    findings = []
    for finding in findings_of(file):
        findings.append(finding)
        if not as_json:
            mark = click.style("holds", fg="green") if finding.held else click.style("FAILS", fg="red", bold=True)
            click.echo(f"{mark}  {finding.what}" + (f": {finding.seen}" if finding.seen else ""))
    failed = sum(not finding.held for finding in findings)
    if as_json:
        click.echo(
            json.dumps({"file": str(file), "held": failed == 0, "findings": [asdict(f) for f in findings]}, indent=2)
        )
    else:
        click.echo(f"{file}: {len(findings) - failed} of {len(findings)} hold")
    return 1 if failed else 0
