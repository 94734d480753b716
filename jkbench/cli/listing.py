"""``jkbench list``: methods, data sets and tasks, read from their sources."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import click

from jkbench.cli import options
from jkbench.tasks.shots import per_class


@click.command("list", epilog=options.examples("jkbench list", "jkbench list methods --json"))
@click.argument("what", type=click.Choice(["all", "methods", "datasets", "tasks"]), default="all")
@options.plugins
@options.as_json
def list_(what: str, plugins: tuple[Path, ...], as_json: bool) -> None:
    """List methods, data sets and tasks.

    Sources are read, not imported; a broken plugin is listed as broken, with file and line."""
    from jkbench.plugins.discovery import discover

    index = discover(plugins)
    found: dict[str, list[dict[str, Any]]] = {
        "methods": [_method(source) for source in index.methods().values()],
        "datasets": [_dataset(source) for source in index.datasets().values()],
        "tasks": _tasks(),
    }
    found = {name: entries for name, entries in found.items() if what in ("all", name)}
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for name, entries in found.items():
        click.echo(click.style(name, bold=True))
        width = max((len(entry["name"]) for entry in entries), default=0)
        for entry in entries:
            click.echo(f"  {entry['name']:<{width}}  {entry.get('broken') or entry['summary']}")
            if entry.get("broken"):
                continue
            for line in entry["details"]:
                click.echo(f"  {'':<{width}}  {click.style(line, dim=True)}")


def _method(source: Any) -> dict[str, Any]:
    parameters = {p.name: {"type": p.annotation, "default": p.default} for p in source.parameters}
    shown = ", ".join(f"{p.name}={p.default}" for p in source.parameters)
    details = [f"{', '.join(sorted(source.tasks))}" + ("; upper reference" if source.reference else "")]
    details += [shown] if shown else []
    return {
        "name": source.name, "summary": source.summary, "tasks": sorted(source.tasks), "cite": source.facts.get("cite"),
        "reference": source.reference, "parameters": parameters, "origin": source.origin, "file": str(source.path),
        "broken": source.broken and f"broken: {source.broken}", "details": details,
    }  # fmt: skip


def _dataset(source: Any) -> dict[str, Any]:
    classes = len(source.facts.get("classes", ()))
    return {
        "name": source.name, "summary": source.summary, "cite": source.facts.get("cite"), "classes": classes,
        "origin": source.origin, "file": str(source.path), "broken": source.broken and f"broken: {source.broken}",
        "details": [f"{classes} classes"],
    }  # fmt: skip


def _tasks() -> list[dict[str, Any]]:
    from jkbench.tasks import builtin

    found = []
    for path in builtin().values():
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        entry = {name: content.get(name) for name in ("name", "kind", "shots", "seeds")}
        details = [f"{content['kind']}; {per_class(*content['shots'])}"]
        found.append(entry | {"summary": content["title"], "file": str(path), "details": details})
    return found
