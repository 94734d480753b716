"""What a method keeps between steps beside the weights and buffers of its modules: a checkpoint cannot store it."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

from torch import nn

from jkbench.plugins.method import Method

_OF_EVERY_MODULE = frozenset(vars(nn.Module()))


class OwnState:
    """A method's own state when its trial begins, to be compared with what it is later."""

    def __init__(self, method: Method, modules: Mapping[str, nn.Module]) -> None:
        self._method = method
        self._modules = modules
        self._before = dict(self._now())

    def obstacle(self) -> str:
        """Why a checkpoint would miss something, in words; empty where it would not."""
        name = type(self._method).__name__
        if type(self._method).fit is not Method.fit:
            return f"{name} has a training loop of its own (fit)"
        now = dict(self._now())
        changed = [key for key in {**self._before, **now} if self._before.get(key) != now.get(key)]
        return f"{name} keeps state of its own ({changed[0]}), which only buffers of modules may" if changed else ""

    def _now(self) -> Iterator[tuple[str, bytes | object]]:
        method, modules = self._method, self._modules
        for name, value in {**vars(method), **(method.__pydantic_private__ or {})}.items():
            yield f"self.{name}", _picture(value)
        for kind in type(method).__mro__[: type(method).__mro__.index(Method)]:
            for name, value in _data(vars(kind)):
                yield f"{kind.__name__}.{name}", _picture(value)
            for name, value in _data(vars(sys.modules[kind.__module__])):
                yield name, _picture(value)
        for key, module in modules.items():
            for place, part in module.named_modules(prefix=key):
                for name, value in vars(part).items():
                    if name not in _OF_EVERY_MODULE:
                        yield f"{place}.{name}", _picture(value)
            for name, buffer in module.named_buffers():
                yield f"the shape of {key}.{name}", _picture((buffer.dtype, buffer.shape))


def _data(names: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What is neither code nor Python's own."""
    for name, value in names.items():
        if not name.startswith(("__", "_abc_")) and not callable(value) and not isinstance(value, ModuleType):
            yield name, value


def _picture(value: object) -> bytes | object:
    """Equal for equal values; what cannot be pickled equals nothing, not even itself later."""
    try:
        return pickle.dumps(value)
    except Exception:  # whatever a class of a plugin raises
        return object()
