"""One step of a training as a function of what it reads: a batch and a learning rate in, loss terms out.

It reads nothing back to the host, so that it can be recorded (`jkbench.engine.program`). Budget, clock, curves and the
test for divergence are the loop's (`jkbench.engine.loop`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from jkbench.engine.context import Context, SignalSettings
from jkbench.engine.optimisers import uncompiled
from jkbench.engine.signals import Batch, Signals
from jkbench.engine.teacher_signals import SignalCache, TeacherSignals
from jkbench.errors import Breach
from jkbench.models.network import Network
from jkbench.tasks.task import Training


@dataclass(frozen=True)
class Losses:
    """The loss terms of a step by name, and their sum, as constants on the device."""

    names: Sequence[str]
    terms: Tensor
    total: Tensor

    def read(self) -> dict[str, float]:
        """The terms by name: the host waits for them."""
        return dict(zip(self.names, self.terms.tolist(), strict=True))


Shown = Tensor | tuple[Tensor, Any]
"""What `Method.inputs` returns: images, or images and something for the loss."""
TRAINING = "write `for batch, student, teacher in loop: loop.step(self.loss(batch, student, teacher))`"
"""What `Method.fit` does, in words."""
Loss = Callable[[Batch, Signals, Signals | None], Iterable[tuple[str, Tensor]]]


def optimiser(parameters: list[nn.Parameter], training: Training) -> torch.optim.Optimizer:
    """The optimiser that a training names."""
    common: dict[str, Any] = {"lr": training.learning_rate, "weight_decay": training.weight_decay}
    on_gpu = bool(parameters) and parameters[0].is_cuda
    adam = {"fused": True, "capturable": on_gpu}
    kinds: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
        "sgd": (torch.optim.SGD, {"momentum": training.momentum, "fused": on_gpu}),
        "adam": (torch.optim.Adam, adam),
        "adamw": (torch.optim.AdamW, adam),
    }
    kind, more = kinds[training.optimiser]
    made: torch.optim.Optimizer = uncompiled(kind)(parameters, **common, **more)
    return made


def tensors(module: nn.Module) -> dict[str, Tensor]:
    """The weights and all buffers of a module by name, also those that its state_dict leaves out."""
    return {name: each.detach() for name, each in (*module.named_parameters(), *module.named_buffers())}


class WrongTerm(Breach):
    """A loss yielded something other than scalar tensors, each with a name of its own."""

    def __init__(self, message: str) -> None:
        super().__init__("loss", message)


def named_terms(terms: Any) -> list[tuple[str, Tensor]]:
    """What a loss yielded, as a list; `WrongTerm` says in one sentence what is wrong with it."""
    named = list(terms) if isinstance(terms, Iterable) and not isinstance(terms, Tensor) else [terms]
    if not named:
        raise WrongTerm("the loss has no term: yield at least one (name, tensor)")
    for at, pair in enumerate(named):
        if isinstance(pair, Batch):
            raise Breach("fit", f"loop.step() takes the terms of a loss: {TRAINING}")
        if not isinstance(pair, tuple) or len(pair) != 2 or not isinstance(pair[0], str):
            raise WrongTerm(f'the loss yields a {type(pair).__name__}: write yield "name", tensor')
        name, term = pair
        if name in [earlier for earlier, _ in named[:at]]:
            raise WrongTerm(f"two terms are called {name!r}: give each a name of its own")
        if not isinstance(term, Tensor):
            raise WrongTerm(f"loss term {name!r} is not a scalar tensor: it is a {type(term).__name__}")
        if term.ndim:
            raise WrongTerm(f"loss term {name!r} is not a scalar tensor: it has the shape {tuple(term.shape)}")
    return named


class Step:
    """What a step works on: the networks, the method's inputs and modules, and the optimiser over all that is trained.

    ``teacher`` is the method's own copy; the signals in ``cache`` come from another one.
    """

    def __init__(
        self,
        student: Network,
        training: Training,
        setting: SignalSettings,
        inputs: Callable[[Batch], Shown] = lambda batch: batch.x,
        context: Context | None = None,
        teacher: Network | None = None,
        cache: SignalCache | None = None,
    ) -> None:
        self.student = student
        self.setting = setting
        self.inputs = inputs
        self.context = context or Context()
        self.modules = self.context.modules
        self.teacher = teacher
        self.cache = cache
        self._augmented = training.augment is not None
        # what a Jacobian pass can reuse is recorded until a step has shown that the loss takes none
        self._takes_jacobians = True
        self._read: Signals | None = None
        self._trained = [student, *self.modules.values()]
        self._buffers: dict[tuple[int, str], Tensor] = {}
        self.parameters = [p for module in self._trained for p in module.parameters() if p.requires_grad]
        self.optimiser = optimiser(self.parameters, training)

    def __call__(self, loss: Loss, batch: Batch, rate: float | Tensor) -> Losses:
        """The whole step: read the signals, compute the loss, update the weights."""
        batch = self.show(batch)
        return self.update(loss(batch, *self.signals(batch)), rate)

    def show(self, batch: Batch) -> Batch:
        """The batch with what the method shows both networks, and what it hands on to its loss."""
        version = batch.x._version
        made = self.inputs(batch)
        x, extra = made if isinstance(made, tuple) else (made, None)
        if not isinstance(x, Tensor) or len(x) != len(batch.y):
            told = f"{len(x)} images" if isinstance(x, Tensor) else f"a {type(x).__name__}"
            wanted = f"return {len(batch.y)}, one for each label"
            raise Breach("inputs", f"inputs() returns {told}: {wanted}")
        # a method may also write into the images
        return replace(batch, shown=x if batch.x._version == version else x.clone(), extra=extra)

    def signals(self, batch: Batch) -> tuple[Signals, Signals | None]:
        """Student's and teacher's signals on what the method shows both networks."""
        x = batch.shown if batch.shown is not None else self.show(batch).shown
        assert x is not None
        unchanged = x is batch.x and not self._augmented
        student = Signals(self.student, x, batch.y, self.setting, True, self.context, self._takes_jacobians)
        self._read = student
        if self.teacher is None:
            return student, None
        if unchanged and self.cache is not None:
            return student, TeacherSignals(self.teacher, batch, self.setting, self.cache, self.context)
        return student, Signals(self.teacher, x, batch.y, self.setting, False, self.context)

    def update(self, terms: Iterable[tuple[str, Tensor]], rate: float | Tensor) -> Losses:
        """One optimiser step on the sum of the terms. `WrongTerm` where one is wrong, or none is there."""
        named = named_terms(terms)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        # only the weights: the graph also reaches the input, whose gradient is not needed
        stacked = torch.stack([term for _, term in named])
        total = stacked.sum()
        torch.autograd.backward(total, inputs=self.parameters)
        self.optimiser.step()
        if self._read is not None:
            self._takes_jacobians, self._read = self._read.took_jacobian, None
        return Losses([name for name, _ in named], stacked.detach(), total.detach())

    @torch.no_grad()
    def settle(self) -> None:
        """Move buffers that a step has replaced back to where they were: a recorded step reads them there."""
        for module in self._trained:
            for name, buffer in module.named_buffers():
                place = self._buffers.setdefault((id(module), name), buffer)
                if buffer is not place:
                    place.copy_(buffer)
                    owner, _, last = name.rpartition(".")
                    setattr(module.get_submodule(owner), last, place)

    def state(self) -> dict[str, Any]:
        """What the next step depends on: weights, buffers, the optimiser's state."""
        return {
            "networks": [tensors(module) for module in self._trained],
            "optimiser": self.optimiser.state_dict(),
            "takes_jacobians": self._takes_jacobians,
        }

    @torch.no_grad()
    def resume(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state` of the same training."""
        for module, stored in zip(self._trained, state["networks"], strict=True):
            for name, place in tensors(module).items():
                place.copy_(stored[name])
        self.optimiser.load_state_dict(state["optimiser"])
        self._takes_jacobians = state["takes_jacobians"]

    def release(self) -> None:
        """Drop the gradients."""
        self._read = None
        for parameter in self.parameters:
            parameter.grad = None
