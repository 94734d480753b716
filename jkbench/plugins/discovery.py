"""Where plugins are found: built in, ``./methods`` and ``./datasets``, ``--plugins DIR``, entry points."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from pathlib import Path

from jkbench.errors import UserError, unknown
from jkbench.files import of_package
from jkbench.plugins.describe import Plugin, PluginType, read

BUILT_IN = "built in"
"""The origin of the suite's own plugins."""

_FOLDER: dict[PluginType, str] = {"method": "methods", "dataset": "datasets"}


@dataclass(frozen=True)
class Index:
    """All plugins of one command, by type and name."""

    plugins: dict[PluginType, dict[str, Plugin]] = field(default_factory=dict)

    def methods(self) -> dict[str, Plugin]:
        """Methods by name, broken ones included."""
        return self.plugins["method"]

    def datasets(self) -> dict[str, Plugin]:
        """Data sets by name, broken ones included."""
        return self.plugins["dataset"]

    def find(self, plugin_type: PluginType, name: str) -> Plugin:
        """The plugin of that name; `UserError` with what was meant."""
        found = self.plugins[plugin_type].get(name)
        if found is None:
            raise unknown(plugin_type if plugin_type == "method" else "data set", name, self.plugins[plugin_type])
        return found


def discover(plugins: Sequence[Path] = (), working: Path | None = None) -> Index:
    """The index of all plugins. Two plugins of one name and different code: `UserError` naming both files.

    A folder in ``plugins`` holds plugin files of both families, or has ``methods/`` and ``datasets/`` inside.
    """
    for folder in plugins:
        if not folder.is_dir() and not (folder.is_file() and folder.suffix == ".py"):
            what = "plugin file" if folder.suffix == ".py" else "folder"
            raise UserError(f"--plugins {folder}: there is no such {what}")
    index: dict[PluginType, dict[str, Plugin]] = {}
    for plugin_type in _FOLDER:
        index[plugin_type] = {}
        for plugin in _all(plugin_type, plugins, working or Path.cwd()):
            other = index[plugin_type].get(plugin.name)
            if other is None:
                index[plugin_type][plugin.name] = plugin
            elif other.path.resolve() != plugin.path.resolve() and (not plugin.code or other.code != plugin.code):
                raise UserError(
                    f"two plugins are called {plugin.name!r}: {other.path} and {plugin.path}", "rename one of the files"
                )
        index[plugin_type] = dict(sorted(index[plugin_type].items()))
    return Index(index)


def _all(plugin_type: PluginType, plugins: Sequence[Path], working: Path) -> Iterator[Plugin]:
    yield from _folder(of_package(_FOLDER[plugin_type]), plugin_type, BUILT_IN)
    yield from _folder(working / _FOLDER[plugin_type], plugin_type, f"./{_FOLDER[plugin_type]}")
    for folder in plugins:
        yield from _folder(folder / _FOLDER[plugin_type], plugin_type, str(folder))
        yield from _loose(folder, plugin_type)
    yield from _entry_points(plugin_type)


def _folder(folder: Path, plugin_type: PluginType, origin: str) -> Iterator[Plugin]:
    if folder.is_dir():
        for path in sorted(folder.glob("*.py")):
            if not path.name.startswith("_"):
                yield read(path, plugin_type, origin)


def _loose(folder: Path, plugin_type: PluginType) -> Iterator[Plugin]:
    """Files right in a ``--plugins`` folder, or that file: by the type of their class; broken ones are methods."""
    for path in [folder] if folder.is_file() else sorted(folder.glob("*.py")):
        if path.name.startswith("_"):
            continue
        as_dataset = read(path, "dataset", str(folder))
        if (as_dataset.class_name != "") == (plugin_type == "dataset"):
            yield as_dataset if plugin_type == "dataset" else read(path, "method", str(folder))


def _entry_points(plugin_type: PluginType) -> Iterator[Plugin]:
    for point in importlib.metadata.entry_points(group=f"jkbench.{_FOLDER[plugin_type]}"):
        module = point.value.partition(":")[0]
        path = _module_file(module)
        origin = f"entry point of {point.dist.name if point.dist else point.value}"
        if path is None:
            broken = f"{point.value}:1: the module of entry point {point.name!r} is not there"
            yield Plugin(point.name, plugin_type, Path(point.value), origin, code="", broken=broken)
        else:
            plugin = read(path, plugin_type, origin)
            yield Plugin(**{**plugin.__dict__, "name": point.name, "module": module})


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
