"""Where plugins are found: built in, ``./methods`` and ``./datasets``, ``--plugins DIR``, entry points."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from pathlib import Path

from jkbench.errors import UserError, unknown
from jkbench.plugins.source import Family, Source, read

BUILT_IN = "built in"
"""The origin of the suite's own plugins."""

_FOLDER: dict[Family, str] = {"method": "methods", "dataset": "datasets"}


@dataclass(frozen=True)
class Index:
    """All plugins of one command, by family and name."""

    plugins: dict[Family, dict[str, Source]] = field(default_factory=dict)

    def methods(self) -> dict[str, Source]:
        """Methods by name, broken ones included."""
        return self.plugins["method"]

    def datasets(self) -> dict[str, Source]:
        """Data sets by name, broken ones included."""
        return self.plugins["dataset"]

    def find(self, family: Family, name: str) -> Source:
        """The plugin of that name; `UserError` with what was meant."""
        found = self.plugins[family].get(name)
        if found is None:
            raise unknown(family if family == "method" else "data set", name, self.plugins[family])
        return found


def builtin_folder(family: Family) -> Path:
    """Inside the package where it was installed from a wheel, beside it in a checkout."""
    package = Path(__file__).parent.parent
    inside = package / _FOLDER[family]
    return inside if inside.is_dir() else package.parent / _FOLDER[family]


def discover(plugins: Sequence[Path] = (), working: Path | None = None) -> Index:
    """The index of all plugins. Two plugins of one name and different code: `UserError` naming both files.

    A folder in ``plugins`` holds plugin files of both families, or has ``methods/`` and ``datasets/`` inside.
    """
    for folder in plugins:
        if not folder.is_dir():
            raise UserError(f"--plugins {folder}: there is no such folder")
    index: dict[Family, dict[str, Source]] = {}
    for family in _FOLDER:
        index[family] = {}
        for source in _all(family, plugins, working or Path.cwd()):
            other = index[family].get(source.name)
            if other is None:
                index[family][source.name] = source
            elif other.path.resolve() != source.path.resolve() and (not source.code or other.code != source.code):
                raise UserError(
                    f"two plugins are called {source.name!r}: {other.path} and {source.path}", "rename one of the files"
                )
        index[family] = dict(sorted(index[family].items()))
    return Index(index)


def _all(family: Family, plugins: Sequence[Path], working: Path) -> Iterator[Source]:
    yield from _folder(builtin_folder(family), family, BUILT_IN)
    yield from _folder(working / _FOLDER[family], family, f"./{_FOLDER[family]}")
    for folder in plugins:
        yield from _folder(folder / _FOLDER[family], family, str(folder))
        yield from _loose(folder, family)
    yield from _entry_points(family)


def _folder(folder: Path, family: Family, origin: str) -> Iterator[Source]:
    if folder.is_dir():
        for path in sorted(folder.glob("*.py")):
            if not path.name.startswith("_"):
                yield read(path, family, origin)


def _loose(folder: Path, family: Family) -> Iterator[Source]:
    """Files right in a ``--plugins`` folder: of the family that their class says; broken ones count as methods."""
    for path in sorted(folder.glob("*.py")):
        if path.name.startswith("_"):
            continue
        as_dataset = read(path, "dataset", str(folder))
        if (as_dataset.class_name != "") == (family == "dataset"):
            yield as_dataset if family == "dataset" else read(path, "method", str(folder))


def _entry_points(family: Family) -> Iterator[Source]:
    for point in importlib.metadata.entry_points(group=f"jkbench.{_FOLDER[family]}"):
        module = point.value.partition(":")[0]
        path = _module_file(module)
        origin = f"entry point of {point.dist.name if point.dist else point.value}"
        if path is None:
            broken = f"{point.value}:1: the module of entry point {point.name!r} is not there"
            yield Source(point.name, family, Path(point.value), origin, code="", broken=broken)
        else:
            source = read(path, family, origin)
            yield Source(**{**source.__dict__, "name": point.name, "module": module})


def _module_file(module: str) -> Path | None:
    """The file of a dotted module, found without importing its packages."""
    search: list[str] | None = None
    origin = None
    for depth in range(module.count(".") + 1):
        found = PathFinder.find_spec(".".join(module.split(".")[: depth + 1]), search)
        if found is None:
            return None
        search = list(found.submodule_search_locations or [])
        origin = found.origin
    return Path(origin) if origin else None
