"""What a machine of a cluster must have before trials run there, and what their records say of it."""

from __future__ import annotations

import platform
import shutil
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from jkbench import hashing
from jkbench.errors import UserError
from jkbench.execute import Needs, work
from jkbench.execute.backends import Workers
from jkbench.files import cache_folder
from jkbench.planning import Plan, Trial
from jkbench.records.schema import Record

LIBRARIES = ("torch", "torchvision", "timm", "numpy", "pydantic")
"""Those whose version must be the same everywhere, beside Python's and this package's code."""
ROOM = 256 * 2**20
"""Free bytes that a machine's cache must have."""


def versions() -> dict[str, str]:
    """What must be the same on every machine: Python, libraries, and this package's code."""
    found = {"Python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            found[library] = "not installed"
    files = sorted(Path(__file__).parent.parent.rglob("*.py"))
    return found | {"jkbench": hashing.of_bytes(*(file.read_bytes() for file in files))[:12]}


def differences(elsewhere: dict[str, str]) -> str:
    """What this machine has in another version than the one that planned, in words; empty where all agree."""
    here = versions()
    found = [f"{name} {here.get(name)} instead of {wanted}" for name, wanted in elsewhere.items()]
    return "; ".join(each for each, name in zip(found, elsewhere, strict=True) if here.get(name) != elsewhere[name])


def lacks(needed: int = ROOM) -> str:
    """What this machine has too little of, in words; empty where it has ``needed`` bytes for its cache."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free >= needed:
        return ""
    return f"{free / 2**20:.0f} MiB free in {folder}, where {needed / 2**20:.0f} are needed"


def refusal(trial: Trial, workers: Workers) -> str:
    """Why a trial cannot run on this machine, in words: its images cannot be had here, or do not fit."""
    plan = Plan(trial.task, [trial.row], [trial])
    try:
        return str(workers.call(work.fit, plan, True, needs=replace(Needs.of([trial]), plugins=())))
    except UserError as error:
        return str(error)


def beside_others(record: Record) -> Record:
    """The same record: its trial did not have its machine alone."""
    if record.cost is None:
        return record
    return record.model_copy(update={"cost": record.cost.model_copy(update={"alone": False})})
