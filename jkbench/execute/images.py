"""Preparing and importing a data set's images. A data set is a plugin: like trials, these run in a worker."""

from __future__ import annotations

import shutil
from pathlib import Path

from jkbench.data import photographs, prepared
from jkbench.errors import UserError
from jkbench.execute.work import Tell
from jkbench.plugins.dataset import Dataset
from jkbench.plugins.describe import Plugin
from jkbench.plugins.loading import load


def prepare(plugin: Plugin, size: int | None, tell: Tell) -> str:
    """Download, check and store a data set's images (at ``size`` pixels); a sentence that counts them."""
    dataset = load(plugin)()
    if size is not None:
        if not _has_sizes(dataset):
            raise UserError(f"data set {plugin.name!r} has images of one size only", "omit --size")
        dataset = type(dataset)(size=size)
    splits = dataset.load()
    counts, side = ", ".join(f"{len(split)} {part}" for part, split in splits.items()), splits["train"].shape[1]
    return f"{plugin.name}: {counts} images of {side}×{side} pixels"


def adopt(plugin: Plugin, file: Path, tell: Tell) -> str:
    """Store the images of a user's .npz as a data set's; a sentence that counts them. `UserError` where they differ
    from the published images, or from those that are stored."""
    name, dataset = plugin.name, load(plugin)()
    if not (dataset.content or dataset.fetched):
        raise UserError(f"{name} cannot be imported: its plugin {plugin.path} has its own images")
    splits = prepared.read(name, file, dataset.classes)
    folder = prepared.path(name)
    if _has_sizes(dataset):
        photographs.check_origin(name, photographs.sizes(name), prepared.content_of(splits))
    if not prepared.is_prepared(name):
        prepared.save(name, dataset.classes, dataset.content, splits)
        try:
            if _has_sizes(dataset):
                type(dataset)(size=splits["train"].shape[1]).load()
        except UserError:
            shutil.rmtree(folder)
            raise
    elif prepared.content_of(prepared.load(name, dataset.classes, "")) != prepared.content_of(splits):
        raise UserError(f"{folder} holds other images of {name}", "delete it, then import these")
    return f"{name}: {len(splits['train'])} training and {len(splits['test'])} test images, in {folder}"


def _has_sizes(dataset: Dataset) -> bool:
    return "size" in type(dataset).model_fields
