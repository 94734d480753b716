"""A step recorded kernel by kernel: what a CUDA graph would hold of it, and why one could not hold it.

A replayed tape does what a replayed CUDA graph does: kernels run again with the Python numbers that they were recorded
with, on the memory that they were recorded on, and no line of the step's Python runs. So a training by replays that
has the bits of an eager one shows that the step takes its batch, its rate and its noise from memory alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

T = TypeVar("T")
aten = torch.ops.aten

WAITS = {
    aten._local_scalar_dense, aten._unique2, aten.bincount, aten.equal, aten.is_nonzero, aten.masked_select,
    aten.nonzero, aten.unique_consecutive, aten.unique_dim,
}  # fmt: skip
"""Kernels whose result, or the size of whose result, the host waits for."""
INDEXED = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}
_CONSTANTS = {aten.lift_fresh, aten.lift_fresh_copy}
_PACKAGE, _TORCH = Path(__file__).parent.parent, Path(torch.__file__).parent
_GENERATOR = torch.Generator  # itself, also where another takes its name
_OUTERMOST = str(Path(__file__).with_name("program.py"))


@dataclass(frozen=True)
class Obstacle:
    """Why a step is not recorded."""

    why: str
    at: str = ""
    """File and line: of a plugin, where one is to blame."""

    def __str__(self) -> str:
        return f"{self.why} ({self.at})" if self.at else self.why


def caller() -> str:
    """File and line of the step that runs now: the innermost of a plugin, else the innermost of this package."""
    frame, ours = sys._getframe(1), ""
    while frame is not None and frame.f_code.co_filename != _OUTERMOST:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(_PACKAGE):
            ours = ours or ("" if path.stem in ("tape", "pretend", "clock") else f"{path.name}:{frame.f_lineno}")
        elif path.is_file() and not path.is_relative_to(_TORCH) and "site-packages" not in path.parts:
            return f"{path.name}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return ours


def waits(func: Any, args: Any, kwargs: Any, device: str) -> str:
    """What keeps a kernel out of a program on this kind of device: a wait of the host, or a copy from or to it."""
    packet = func._overloadpacket
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    kinds = [tensor.device.type for tensor in tensors]
    if packet is aten.copy_:
        return _copied(kinds[1], kinds[0])
    if packet is aten._to_copy and kwargs.get("device") is not None:
        target = torch.device(kwargs["device"]).type
        return _copied(kinds[0], "cuda" if target == "meta" else target)  # meta: `jkbench.engine.pretend`
    if packet in WAITS and device in kinds:
        return f"the host waits for {packet.__name__}"
    if packet in INDEXED and device in kinds:
        index = [part for part in args[1] if isinstance(part, Tensor)]
        if any(part.dtype in (torch.bool, torch.uint8) for part in index):
            return "the host waits for how many a mask selects"
        if any(part.device.type != device for part in index):
            return f"a copy of an index to {device}"
    return ""


def _copied(source: str, target: str) -> str:
    return f"a copy from {source} to {target}" if source != target else ""


@dataclass(frozen=True)
class _Call:
    func: Any
    args: Any
    kwargs: Any
    out: Any

    def given(self) -> Iterator[Any]:
        yield from tree_leaves((self.args, self.kwargs))

    def made(self) -> Iterator[Tensor]:
        yield from (leaf for leaf in tree_leaves(self.out) if isinstance(leaf, Tensor))


class Tape(TorchDispatchMode):
    """The kernels of a step, in order. ``seeds`` are those of the generators that a step may draw from."""

    def __init__(self, device: torch.device, seeds: Collection[int] = ()) -> None:
        super().__init__()
        self.obstacles: list[Obstacle] = []
        self._device = device.type
        self._seeds = seeds
        self._calls: list[_Call] = []
        self._program: list[tuple[Any, Any, Any, list[Tensor | None]]] = []

    @property
    def kernels(self) -> int:
        """How many calls of the step do something; views do not."""
        return len(self._program) or sum(not _is_view(call) for call in self._calls)

    def record(self, body: Callable[[], T]) -> T:
        """Run the step, and keep its kernels for `replay`."""
        with self:
            result = body()
        self._program = [
            (call.func, call.args, call.kwargs, _targets(call)) for call in self._calls if not _is_view(call)
        ]
        self._calls.clear()
        return result

    def replay(self) -> None:
        """Run the kernels again, into the memory of the recorded ones."""
        with torch.no_grad():
            for func, args, kwargs, targets in self._program:
                out = func(*args, **kwargs)
                if targets:
                    for target, new in zip(targets, tree_leaves(out), strict=True):
                        if target is not None:
                            target.copy_(new)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if why := waits(func, args, kwargs, self._device) or self._draws(kwargs.get("generator")):
            self.obstacles.append(Obstacle(why, caller()))
        out = func(*args, **kwargs)
        if func.namespace != "profiler":
            self._calls.append(_Call(func, args, kwargs, out))
        return out

    def _draws(self, generator: torch.Generator | None) -> str:
        known = generator is None or not self._seeds or generator.initial_seed() in self._seeds
        return "" if known else "it draws from a generator other than batch.noise"

    def signature(self) -> list[Any]:
        """The calls with their numbers; tensors by the call that made them, or by their address outside the step.

        Read inside the context of a step, after it: addresses hold while its tensors do.
        """
        made: dict[int, int] = {}
        rows = []
        for at, call in enumerate(self._calls):
            rows.append((str(call.func), [self._told(leaf, made, call.func) for leaf in call.given()]))
            for tensor in call.made():
                made.setdefault(id(tensor), at)
        return rows

    def _told(self, leaf: Any, made: dict[int, int], func: Any) -> Any:
        if isinstance(leaf, _GENERATOR):
            return "generator", leaf.initial_seed()
        if not isinstance(leaf, Tensor):
            return repr(leaf)
        if id(leaf) in made:
            return "made by", made[id(leaf)]
        # the host's own numbers are part of the program
        if func._overloadpacket in _CONSTANTS or (leaf.ndim == 0 and leaf.device.type != self._device):
            return "value", leaf.dtype, leaf.tolist()
        return "outside", leaf.data_ptr(), leaf.shape, leaf.stride(), leaf.dtype


def _storages(leaves: Iterator[Any]) -> set[int]:
    return {leaf.untyped_storage().data_ptr() for leaf in leaves if isinstance(leaf, Tensor)}


def _is_view(call: _Call) -> bool:
    """Whether a call moves nothing: its results are memory that it was given, and it writes into none."""
    if call.func.is_view:
        return True
    made = _storages(call.made())
    return not call.func._schema.is_mutable and bool(made - {0}) and made <= _storages(call.given())


def _targets(call: _Call) -> list[Tensor | None]:
    """The results that are new memory, to be written again; empty where all are memory that the call was given."""
    given = _storages(call.given())
    leaves = tree_leaves(call.out)
    fresh = [isinstance(leaf, Tensor) and leaf.untyped_storage().data_ptr() not in given for leaf in leaves]
    return [leaf.detach() if new else None for leaf, new in zip(leaves, fresh, strict=True)] if any(fresh) else []
