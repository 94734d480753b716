"""A make-believe GPU on a machine without one: tensors say ``cuda:0`` and carry real values in main memory.

Autograd, second derivatives and fused optimisers run on it, so a step can be compared bit for bit with the CPU's. It
raises `Mismatch` where operands or generators of two devices meet, and notes copies between host and device, waits of
the host, and kernels whose order of summation a GPU does not fix. It does not know what CUDA's kernels compute, nor
what C++ decides by device: real tests on a GPU stay (`benchmarks/gpu.py`).
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from jkbench.engine.tape import INDEXED, caller, waits

aten = torch.ops.aten
CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")
UNORDERED = {
    aten.bincount, aten.cumsum, aten.histc, aten.index_add, aten.index_add_, aten.kthvalue, aten.median, aten.put,
    aten.put_, aten.scatter_add, aten.scatter_add_, aten.scatter_reduce, aten.adaptive_max_pool2d_backward,
    aten.avg_pool2d_backward, aten.grid_sampler_2d_backward, aten.max_pool2d_with_indices_backward,
    aten._adaptive_avg_pool2d_backward, aten.reflection_pad2d_backward, aten.replication_pad2d_backward,
    aten.upsample_bilinear2d_backward, aten._cdist_backward,
}  # fmt: skip
"""Kernels that may sum in any order on a GPU, as torch's own documentation lists them."""
_MOVES_NOTHING = {aten.detach, aten.alias, aten.lift_fresh, aten.empty, aten.empty_like, aten.empty_strided}


class Mismatch(RuntimeError):
    """Operands, or a generator and what it draws, are on two devices."""


@dataclass(frozen=True)
class Event:
    """Something that costs a GPU's time, or its bits."""

    kind: str
    """``wait`` (copies included) or ``unordered``."""
    what: str
    at: str


class Pretended(Tensor):
    """A tensor that says ``cuda:0``; its values are in ``held``, on the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Pretended:  # noqa: D102
        made: Pretended = Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
            layout=held.layout, device=torch.device("meta"),
        )  # fmt: skip
        made.held = held
        return made

    device = property(lambda self: CUDA)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)
    is_meta = property(lambda self: False)

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"Pretended({self.held!r})"

    def numpy(self, *_: Any, **__: Any) -> Any:
        """TypeError, as of a GPU's tensor."""
        raise TypeError("can't convert cuda:0 device type tensor to numpy: use Tensor.cpu()")

    def tolist(self) -> Any:
        """The values, by way of the host."""
        return self.cpu().tolist()

    def cpu(self, *_: Any, **__: Any) -> Tensor:
        """A copy on the host."""
        return self.to("cpu")

    def cuda(self, *_: Any, **__: Any) -> Tensor:
        """Itself."""
        return self

    def to(self, *args: Any, **kwargs: Any) -> Tensor:
        """On this device itself or another type, on the host a copy."""
        device, dtype, _, layout = torch._C._nn._parse_to(*args, **kwargs)
        dtype = dtype or self.dtype
        if device is not None and device.type == "cpu":
            return super().to(device=device, dtype=dtype, copy=False)
        return super().to(dtype=dtype) if layout is None else super().to(dtype=dtype, memory_format=layout)

    def data_ptr(self) -> int:
        """Where the values are."""
        return self.held.data_ptr()

    def untyped_storage(self) -> Any:
        """What holds the values."""
        return self.held.untyped_storage()

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if id(self) not in memo:
            made: Tensor = Pretended(self.held.detach().clone())
            is_weight = isinstance(self, torch.nn.Parameter)
            memo[id(self)] = torch.nn.Parameter(made, self.requires_grad) if is_weight else made
        found: Tensor = memo[id(self)]
        return found

    @classmethod
    def __torch_dispatch__(cls, func: Any, *_: Any) -> Any:
        raise RuntimeError(f"{func}: a make-believe tensor outlived its device")


def held(value: Any) -> Any:
    """The value itself, on the CPU."""
    return value.held if isinstance(value, Pretended) else value


class Watch(TorchDispatchMode):
    """What runs on the make-believe device: kernels by name, and events."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Event] = []
        self.launches: Counter[str] = Counter()

    def clear(self) -> None:
        """Forget what was seen so far."""
        self.events.clear()
        self.launches.clear()

    @property
    def waits(self) -> list[Event]:
        """The events at which host and device wait for each other."""
        return [event for event in self.events if event.kind == "wait"]

    def note(self, kind: str, what: str) -> None:
        """An event of the step that runs now."""
        self.events.append(Event(kind, what, caller()))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        packet = func._overloadpacket
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        on_gpu = any(isinstance(tensor, Pretended) for tensor in tensors)
        asked = torch.device(kwargs["device"]) if kwargs.get("device") is not None else None
        if why := waits(func, args, kwargs, "cuda"):
            self.note("wait", why)
        if packet is aten.copy_:
            held(args[0]).copy_(held(args[1]))
            self.launches[str(packet)] += isinstance(args[0], Pretended)
            return args[0]
        there = on_gpu if asked is None else asked.type != "cpu"  # C++ asks for the wrapper's own device, meta
        if packet is not aten._to_copy and (on_gpu or there):
            self._check(func, tensors)
        out = func(*tree_map(_real, args), **{name: tree_map(_real, value) for name, value in kwargs.items()})
        if not there:
            return out.clone() if packet is aten._to_copy and out is held(tensors[0]) else out
        if packet in UNORDERED:
            self.note("unordered", packet.__name__)
        if not func.is_view and packet not in _MOVES_NOTHING:
            self.launches[str(packet)] += 1
        given = {id(tensor.held): tensor for tensor in tensors if isinstance(tensor, Pretended)}
        return tree_map(lambda leaf: _wrapped(leaf, given, fresh=packet is aten._to_copy), out)

    @staticmethod
    def _check(func: Any, tensors: Sequence[Tensor]) -> None:
        """`Mismatch` where a host tensor meets the device; numbers and indices may, an index by a copy."""
        host = [tuple(t.shape) for t in tensors if not isinstance(t, Pretended) and t.ndim]
        if host and func._overloadpacket not in INDEXED:
            raise Mismatch(
                f"{func._overloadpacket.__name__} meets cuda:0 and cpu, of the shape {host[0]}, at {caller()}"
            )


def _real(value: Any) -> Any:
    if isinstance(value, torch.device):
        return CPU
    return held(value)


def _wrapped(leaf: Any, given: dict[int, Pretended], fresh: bool) -> Any:
    """A result on the device: what an in-place kernel was given, or a new tensor."""
    if not isinstance(leaf, Tensor) or isinstance(leaf, Pretended):
        return leaf
    if id(leaf) in given:
        return Pretended(leaf.clone()) if fresh else given[id(leaf)]
    return Pretended(leaf)


class _Generator(torch.Generator):
    """A generator of either device, with the CPU's numbers."""

    def __new__(cls, device: Any = "cpu") -> _Generator:
        made: _Generator = torch._C.Generator.__new__(cls, "cpu")  # type: ignore[call-arg]
        return made

    def __init__(self, device: Any = "cpu") -> None:
        self.told = torch.device(device)

    device = property(lambda self: self.told)

    def manual_seed(self, seed: int) -> _Generator:
        super().manual_seed(seed)
        return self


class _Draws(TorchFunctionMode):
    """`Mismatch` where a generator draws for the other device: below this, torch has forgotten what it was told."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        generator = kwargs.get("generator")
        if generator is not None and not isinstance(func, torch._ops.OpOverload):
            given = next((value for value in args if isinstance(value, Tensor)), None)
            place = torch.device(kwargs.get("device") or (CPU if given is None else given.device))
            own = getattr(generator, "told", CPU)
            if own.type != place.type:
                raise Mismatch(f"{func.__name__}: a generator of {own.type} draws for {place.type}, at {caller()}")
        return func(*args, **kwargs)


def _patches(watch: Watch) -> Iterator[Any]:
    """Torch's functions that ask a driver, and its list of devices with fused optimisers."""
    real = torch.tensor

    def tensor(data: Any, *args: Any, device: Any = None, **kwargs: Any) -> Tensor:
        made = real(data, *args, **kwargs)
        return made if device is None else made.to(device)

    told: dict[str, Callable[..., Any]] = {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "is_initialized": lambda: False,
        "is_current_stream_capturing": lambda: False,
        "device_count": lambda: 1,
        "get_device_name": lambda *_: "a make-believe GPU",
        "get_rng_state": lambda *_: torch.get_rng_state(),
        "mem_get_info": lambda *_: (2**36, 2**37),
        "reset_peak_memory_stats": lambda *_: None,
        "max_memory_allocated": lambda *_: 0,
        "synchronize": lambda *_: watch.note("wait", "torch.cuda.synchronize"),
    }
    yield from (mock.patch(f"torch.cuda.{name}", function) for name, function in told.items())
    yield mock.patch("torch.Generator", _Generator)
    yield mock.patch("torch.tensor", tensor)
    yield mock.patch("torch.optim.Optimizer._accelerator_graph_capture_health_check")
    for name in ("adam", "adamw", "sgd", "optimizer"):
        module = sys.modules[f"torch.optim.{name}"]
        if hasattr(module, "_get_fused_kernels_supported_devices"):
            yield mock.patch.object(module, "_get_fused_kernels_supported_devices", return_value=["cuda", "meta"])


@contextmanager
def gpu() -> Iterator[Watch]:
    """Inside, the device ``cuda`` is there, make-believe. Nothing that was made on it may be used outside."""
    with ExitStack() as stack:
        watch = Watch()
        for patch in _patches(watch):
            stack.enter_context(patch)
        stack.enter_context(_Draws())
        yield stack.enter_context(watch)
