"""A Ray cluster, or one that is started on this machine. Ray says where a trial runs, and runs it elsewhere where its
machine is lost (`jkbench.execute.backends.ray_node` is what runs there).

Machines share no disk with this one: plugin files and networks travel as a `Parcel` through Ray's object store. What
reads files of this machine (`call` without a `Machine`) runs here.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Self, get_args

from jkbench.errors import Collector, UserError
from jkbench.execute import NOTHING, Machine, Needs, failed_record, node, parcel, work
from jkbench.execute.backends import Heard, ignore, ray_node
from jkbench.execute.backends.cluster import ClusterWorkers
from jkbench.execute.order import LongestFirst
from jkbench.execute.parcel import Parcel
from jkbench.execute.request import NO_REQUEST, Request
from jkbench.files import write_atomically
from jkbench.planning import Trial
from jkbench.records import teachers
from jkbench.records.schema import Record

TAKES = frozenset({"address", "gpus", "memory"})
TRIES = 4
"""How often a trial is started whose machine is lost each time."""
REACH = 5.0
"""Seconds in which a cluster's address answers."""


class Workers(ClusterWorkers):
    """What a cluster has free."""

    def __init__(self, threads: int = 1, request: Request = NO_REQUEST) -> None:
        super().__init__(threads, request)
        self._busy: dict[Any, Trial] = {}

    def __enter__(self) -> Self:
        _connect(self._request.address)
        try:
            self._ask_nodes(node.differences, node.versions())
            self._here.__enter__()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        import ray

        self._here.__exit__(*error)
        for running in self._busy:
            with contextlib.suppress(Exception):
                ray.cancel(running, force=True)
        ray.shutdown()

    def slots(self) -> int:
        """Two for each trial that the cluster runs at a time: no worker waits for this process."""
        asked = {"CPU": self._threads, "GPU": self._request.gpus, "memory": (self._request.memory or 0) * 2**30}
        wanted = {name: number for name, number in asked.items() if number}
        at_a_time = sum(
            int(min(each["Resources"].get(name, 0) / number for name, number in wanted.items())) for each in _nodes()
        )
        if not at_a_time:
            told = ", ".join(f"{number:g} {name}" for name, number in wanted.items())
            raise UserError(f"no node of the cluster has what a trial asks for: {told}", "ask for less, or add a node")
        return 2 * at_a_time

    def call(
        self, function: Callable[..., Any], *arguments: Any, needs: Needs = NOTHING, heard: Heard = ignore,
        limit: float | None = None,
    ) -> Any:  # fmt: skip
        """The result of a function: in the cluster where it takes a `Machine`, and here where it reads this one's."""
        machine = next((each for each in arguments if isinstance(each, Machine)), None)
        if machine is None:
            return self._here.call(function, *arguments, needs=needs, heard=heard, limit=limit)
        name, stored = _stored(parcel.pack(arguments, machine.folder))
        asked = self._remote(ray_node.call).remote(name, stored, function, arguments, needs, self._threads)
        result, made = _told(asked)
        for where, content in made.items():
            write_atomically(machine.folder / where, content)
        return result

    def run(self, trials: Sequence[Trial], machine: Machine) -> Iterator[Record]:
        """Records in the order in which trials end; `UserError` before the first where a machine cannot run them."""
        import ray

        name, stored = _stored(packed := parcel.pack(_sources(trials), machine.folder))
        self._ask_nodes(ray_node.refusal, name, stored, trials[0], packed.size + node.ROOM, self._threads)
        waiting, function = LongestFirst(trials, machine.expected), self._remote(ray_node.trial)
        there = replace(machine, task_file=None, expected={})
        while waiting or self._busy:
            while waiting and len(self._busy) < machine.jobs:
                trial = waiting.take()
                if message := work.changed(machine.task_file):
                    yield failed_record(trial, message)
                else:
                    self._busy[function.remote(name, stored, trial, there, self._threads)] = trial
            done, _ = ray.wait(list(self._busy), num_returns=1) if self._busy else ([], [])
            for each in done:
                trial = self._busy.pop(each)
                record = _record(each, trial)
                waiting.took(trial, record)
                yield record

    def _remote(self, function: Callable[..., Any]) -> Any:
        import ray

        asked = {"num_cpus": self._threads, "num_gpus": self._request.gpus, "max_retries": TRIES - 1}
        if self._request.memory:
            asked["memory"] = int(self._request.memory * 2**30)
        return ray.remote(function).options(**asked)

    def _ask_nodes(self, function: Callable[..., str], *arguments: Any) -> None:
        """`UserError` with what the function says of each machine that trials may run on."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

        remote, asked = ray.remote(function), []
        for each in _nodes():
            if each["Resources"].get("CPU", 0) >= self._threads:
                there = remote.options(num_cpus=0, scheduling_strategy=On(each["NodeID"], soft=False))
                asked.append((each["NodeManagerAddress"], there.remote(*arguments)))
        with Collector() as problems:
            for address, answer in asked:
                with problems.caught():
                    if wrong := _told(answer):
                        hint = "install the same there, make room, or take the node out of the cluster"
                        problems.add(UserError(f"node {address}: {wrong}", hint))


def _nodes() -> list[dict[str, Any]]:
    import ray

    return [each for each in ray.nodes() if each["Alive"]]


def _stored(packed: Parcel) -> tuple[str, list[Any]]:
    import ray

    return packed.name, [ray.put(packed)]


def _sources(trials: Sequence[Trial]) -> list[Any]:
    """What trials of one task are made of."""
    rows = {each.row.label: each.row.plugin for each in trials}
    roles: tuple[teachers.Role, ...] = get_args(teachers.Role)
    return [rows, trials[0].datasets, *(teachers.of_task(trials[0].task, trials[0].datasets, role) for role in roles)]


def _connect(address: str) -> None:
    """Join the cluster, or start one here. `UserError` where it does not answer."""
    try:
        import ray
    except ModuleNotFoundError:
        raise UserError("--executor ray: Ray is not installed here", "pip install 'jkbench[ray]'") from None
    hint = "ray status says what runs" if address else "run it again when this machine is less busy"
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon:
        try:
            socket.create_connection((host, int(port)), REACH).close()
        except (OSError, ValueError) as error:
            raise UserError(f"--address {address}: nothing answers there ({error})", hint) from None
    dashboard = None if address else False
    try:
        ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, include_dashboard=dashboard)
    except Exception as error:  # Ray has no common class for them
        told = " ".join(str(error).split())
        raise UserError(f"--address {address or 'local'}: {told}", hint) from None


def _told(answer: Any) -> Any:
    """A function's result; however else it ends is a `UserError`."""
    import ray

    try:
        return ray.get(answer)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from None
        last = str(error.cause).strip().splitlines()[-1]  # the lines before are a traceback
        raise UserError(last, "is this version of jkbench installed on every node?") from None
    except ray.exceptions.RayError as error:
        raise UserError(f"{type(error).__name__}: {str(error).splitlines()[0]}", "run the command again") from None


def _record(answer: Any, trial: Trial) -> Record:
    try:
        found: Record = _told(answer)
        return found
    except UserError as error:
        return failed_record(trial, error.message)
