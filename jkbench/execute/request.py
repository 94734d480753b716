"""What a trial asks of a cluster: options of the command line over ``grid.toml`` beside the task's file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jkbench.errors import UserError

FILE = "grid.toml"


class Request(BaseModel):
    """What one trial asks for, and where. An empty field leaves it to the engine, or to what earlier trials took."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: str = Field("", description="the cluster's address; empty starts one on this machine")
    gpus: float = Field(0, ge=0, description="GPUs of a trial; a fraction shares one")
    memory: float | None = Field(None, gt=0, description="GiB of a trial")
    partition: str = Field("", description="the queue")
    minutes: int | None = Field(None, ge=1, description="time limit of a job")
    trials: int | None = Field(None, ge=1, description="trials of a job")
    queued: int = Field(200, ge=1, description="most jobs in the queue at a time")
    python: str = Field("", description="the command that starts Python on a node: of an environment or a container")
    manager: Literal["slurm", "local"] = Field("slurm", description="local tries the same jobs without Slurm")
    extra: dict[str, Any] = Field(default_factory=dict, description="what else the engine is told, as it names it")

    def device(self, wanted: str) -> str:
        """The kind of device that a trial gets where ``wanted`` is auto, cpu or cuda: a GPU is asked for."""
        if wanted == "cuda" and not self.gpus:
            raise UserError("--device cuda: the trials ask for no GPU", "--request gpus=1")
        return "cuda" if self.gpus and wanted != "cpu" else "cpu"


NO_REQUEST = Request()


def made(fields: Mapping[str, Any]) -> Request:
    """The request of these fields. `UserError` names a wrong one."""
    return _made(fields, "--request")


def parse(texts: Sequence[str]) -> Request:
    """The request of texts ``FIELD=VALUE``. `UserError` names a wrong one."""
    return made(dict(text.partition("=")[::2] for text in texts))


def of(folder: Path, executor: str, options: Request) -> Request:
    """What the executor's section of a folder's ``grid.toml`` asks for, where there is one, with options over it."""
    file = folder / FILE
    if not file.is_file():
        return options
    try:
        written = tomllib.loads(file.read_text(encoding="utf-8")).get(executor, {})
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read: {error}", "fix it, or delete it") from None
    return _made(written | options.model_dump(exclude_unset=True), f"{file}: {executor}")


def _made(fields: Mapping[str, Any], where: str) -> Request:
    try:
        return Request(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        fields_are = ", ".join(Request.model_fields)
        raise UserError(f"{where}: {name}: {first['msg']}", f"the fields are {fields_are}") from None
