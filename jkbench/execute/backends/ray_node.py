"""What runs in a Ray worker, on a machine of the cluster: trials and other functions of `jkbench.execute.work`, each in
a process of `jkbench.execute.backends.processes`, as it would run without Ray.

The `Parcel` comes as the only element of a list, so that Ray fetches it where this machine has not unpacked it yet.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from jkbench.execute import Machine, Needs, node, parcel
from jkbench.execute.backends import processes
from jkbench.execute.parcel import Parcel
from jkbench.planning import Trial
from jkbench.records.schema import Record

_parcels: dict[str, Parcel] = {}
_processes: dict[tuple[int, str], processes.Workers] = {}


def trial(name: str, stored: list[Any], wanted: Trial, machine: Machine, threads: int) -> Record:
    """The record of one trial."""
    folder = _opened(name, stored).folder
    (record,) = _process(threads).run([parcel.at(folder, wanted)], parcel.at(folder, machine))
    return node.beside_others(record)


def call(
    name: str, stored: list[Any], function: Callable[..., Any], arguments: Sequence[Any], needs: Needs, threads: int
) -> tuple[Any, dict[str, bytes]]:
    """A function's result, and the networks that it has made."""
    opened = _opened(name, stored)
    there = parcel.at(opened.folder, [*arguments, needs])
    return _process(threads).call(function, *there[:-1], needs=there[-1]), opened.made()


def refusal(name: str, stored: list[Any], wanted: Trial, room: int, threads: int) -> str:
    """Why a trial cannot run on this machine, in words; empty where it can."""
    if wrong := node.lacks(room):
        return wrong
    return node.refusal(parcel.at(_opened(name, stored).folder, wanted), _process(threads))


def _opened(name: str, stored: list[Any]) -> Parcel:
    """The parcel, unpacked on this machine."""
    if name not in _parcels:
        import ray

        _parcels[name] = ray.get(stored[0])
        _parcels[name].unpack()
    return _parcels[name]


def _process(threads: int) -> processes.Workers:
    """This Ray worker's process; another one where Ray gives it another GPU."""
    wanted = threads, os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if wanted not in _processes:
        for other in _processes.values():
            other.__exit__()
        _processes.clear()
        _processes[wanted] = processes.Workers(threads).__enter__()
    return _processes[wanted]
