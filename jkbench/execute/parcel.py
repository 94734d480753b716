"""What trials need on a machine that shares no disk with the one that planned them: plugin files and networks.

A parcel is made once, travels once to each machine, and is unpacked into that machine's cache. Every file is checked
against its hash when it arrives. Images do not travel: each machine fetches them, and checks them as always.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from jkbench import hashing
from jkbench.errors import UserError
from jkbench.execute import Machine, Needs
from jkbench.files import cache_folder, write_atomically
from jkbench.planning import Row, Trial
from jkbench.plugins.describe import Plugin
from jkbench.records import teachers


@dataclass(frozen=True)
class Parcel:
    """Contents by their place in the parcel, and the hash that each had where it was packed."""

    contents: dict[str, bytes]
    hashes: dict[str, str]

    @cached_property
    def name(self) -> str:
        """What it is called on every machine: the hash of what it holds."""
        return hashing.of_value(self.hashes)

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(map(len, self.contents.values()))

    @property
    def folder(self) -> Path:
        """Where it is unpacked on this machine."""
        return cache_folder() / "parcels" / self.name

    def unpack(self) -> None:
        """Write what is not there yet. `UserError` where it was damaged on its way, or there is no room."""
        for where, content in self.contents.items():
            if hashing.of_bytes(content) != self.hashes[where]:
                raise UserError(f"{where} was damaged on its way to {platform.node()}", "run the command again")
            if not (self.folder / where).is_file():
                self._write(self.folder / where, content)

    def made(self) -> dict[str, bytes]:
        """The networks that were made where it is unpacked."""
        found = {f.relative_to(self.folder).as_posix(): f for f in (self.folder / "teachers").glob("*.safetensors")}
        return {where: file.read_bytes() for where, file in found.items() if where not in self.hashes}

    def _write(self, file: Path, content: bytes) -> None:
        try:
            write_atomically(file, content)
        except UserError as error:
            told = f"{platform.node()}: {error.message}"
            raise UserError(told, "free space there, or set JKBENCH_CACHE to a folder that has it") from None


def pack(things: Any, folder: Path) -> Parcel:
    """What trials, or the arguments of a function, need: plugin files, and the folder's networks."""
    files = dict(_files(things, folder))
    contents = {where: file.read_bytes() for where, file in files.items()}
    return Parcel(contents, {where: hashing.of_bytes(content) for where, content in contents.items()})


def at(folder: Path, thing: Any) -> Any:
    """The same thing where a parcel was unpacked: with that folder's plugins and, of a machine, that folder."""
    match thing:
        case Plugin():
            return replace(thing, path=folder / _of_plugin(thing))
        case Row():
            return replace(thing, plugin=at(folder, thing.plugin))
        case Trial():
            return replace(thing, row=at(folder, thing.row), datasets=at(folder, thing.datasets))
        case Needs():
            return replace(thing, plugins=at(folder, thing.plugins), datasets=at(folder, thing.datasets))
        case Machine():
            cache = None if thing.cache is None else cache_folder()
            return replace(thing, folder=folder, cache=cache, jobs=1, task_file=None, expected={})
        case dict():
            return {key: at(folder, value) for key, value in thing.items()}
        case list() | tuple():
            return type(thing)(at(folder, each) for each in thing)
    return thing


def _files(thing: Any, folder: Path) -> Iterator[tuple[str, Path]]:
    """The files that a thing needs, by their place in a parcel."""
    match thing:
        case Plugin():
            yield _of_plugin(thing), thing.path
        case teachers.Recipe():
            file = teachers.path(folder, thing)
            if file.is_file() and file.is_relative_to(folder):
                yield file.relative_to(folder).as_posix(), file
        case Trial():
            yield from _files([thing.row.plugin, thing.datasets], folder)
        case dict():
            yield from _files(list(thing.values()), folder)
        case list() | tuple():
            for each in thing:
                yield from _files(each, folder)


def _of_plugin(plugin: Plugin) -> str:
    return f"plugins/{plugin.code}/{plugin.path.name}"
