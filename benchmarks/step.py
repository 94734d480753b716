"""What each way of running a step costs on this CPU: ``python benchmarks/step.py``.

One process a line, because threads and allocator are a process's own. Printed: milliseconds of a step of ``distill``
and of ``jacobian`` (CE + act + the correct-class row, per-sample statistics), medians after warm-up, and as a multiple
of the first line. Everything that a trial repeats is in a step (forward, Jacobian, backward, optimiser); the teacher's
signals are given, as a cache gives them.

Lines: the plain way (torch's double backward, default layout and allocator); then one change after the other, each on
top of those before it that were kept: the replayed Jacobian pass, channels-last, memory that stays with the process;
then what was tried and not taken: two threads, bfloat16 autocast, torch.compile (of the student's pass; and of one
function with the input gradient by torch.func.vjp, whose backward is first-order).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

STUDENTS = {"digits": ("vgg:16-M-32-M-32", 1, 8, 10, 25), "cifar": ("vgg-4", 3, 32, 100, 64)}
PLAIN: dict[str, Any] = {"replay": False, "channels_last": False, "keep": False, "threads": 1, "way": "eager"}
KEPT = {**PLAIN, "replay": True, "channels_last": True, "keep": True}
LINES = [
    ("plain", PLAIN),
    ("+ replayed Jacobian pass", {**PLAIN, "replay": True}),
    ("+ channels-last", {**PLAIN, "replay": True, "channels_last": True}),
    ("+ memory stays (kept)", KEPT),
    ("kept, two threads", {**KEPT, "threads": 2}),
    ("kept, bfloat16 autocast", {**KEPT, "way": "bfloat16"}),
    ("kept, torch.compile", {**KEPT, "way": "compile"}),
]


def measure(student: str, how: dict[str, Any]) -> dict[str, float]:
    """Milliseconds of a step by method, and the seconds that compiling took."""
    import torch
    from torch.nn import functional

    from jkbench import maths
    from jkbench.engine import environment
    from jkbench.models.batchnorm import recorded_inputs, statistics_of
    from jkbench.models.network import build
    from jkbench.models.replay import recording, replayed

    torch.set_num_threads(how["threads"])
    if how["keep"]:
        environment.prepare()
    architecture, channels, size, classes, batch = STUDENTS[student]
    stream = torch.Generator().manual_seed(0)
    network = build(architecture, channels, size, classes, 0).train()
    x = torch.randn(batch, channels, size, size, generator=stream)
    if how["channels_last"]:
        network = network.to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
    y = torch.randint(0, classes, (batch,), generator=stream)
    target = torch.randn(batch, classes, generator=stream)
    rows = torch.randn(batch, 1, x[0].numel(), generator=stream)
    weights = list(network.parameters())
    optimiser = torch.optim.Adam(weights, 1e-3, fused=True)

    def on_logits(logits: Any) -> Any:
        return maths.cross_entropy(logits, y) + maths.squared_error(logits, target)

    def distill() -> Any:
        return on_logits(network(x).logits.float())

    def jacobian() -> Any:
        leaf = x.detach().requires_grad_()
        if how["replay"]:
            with recording(network) as kept:
                first = network(x)
            with replayed(kept, leaf):
                second = network(leaf)
        else:
            with recorded_inputs(network) as inputs:
                first = network(x)
            with statistics_of(network, inputs):
                second = network(leaf)
        mine = maths.jacobian_rows(second.logits, leaf, y[:, None], create_graph=True)
        return on_logits(first.logits.float()) + maths.squared_distance(mine, rows)

    def affine_pass(weight_of: dict[str, Any], images: Any, given: list[Any] | None) -> tuple[Any, list[Any]]:
        """The VGG as a function of weights and images; ``given`` statistics, or the batch's own."""
        found, at = [], 0
        for stage_at, stage in enumerate(network.body.stages):
            for layer_at, layer in enumerate(stage):
                name = f"body.stages.{stage_at}.{layer_at}"
                if isinstance(layer, torch.nn.Conv2d):
                    images = functional.conv2d(images, weight_of[f"{name}.weight"], padding=1)
                elif isinstance(layer, torch.nn.BatchNorm2d):
                    own = given is None
                    variance, mean = torch.var_mean(images, [0, 2, 3], correction=0, keepdim=True) if own else given[at]
                    found.append((variance, mean))
                    at += 1
                    scale = (variance + layer.eps).rsqrt() * weight_of[f"{name}.weight"].view(1, -1, 1, 1)
                    images = (images - mean) * scale + weight_of[f"{name}.bias"].view(1, -1, 1, 1)
                else:
                    images = layer(images)
        return functional.linear(images.mean((2, 3)), weight_of["head.weight"], weight_of["head.bias"]), found

    def one_function(weight_of: dict[str, Any]) -> Any:
        logits, found = affine_pass(weight_of, x, None)
        picked, pull = torch.func.vjp(lambda z: affine_pass(weight_of, z, found)[0].gather(1, y[:, None]).sum(), x)
        (mine,) = pull(torch.ones_like(picked))
        return on_logits(logits) + maths.squared_distance(mine.flatten(1)[:, None], rows)

    losses: dict[str, Callable[[], Any]] = {"distill": distill, "jacobian": jacobian}
    if how["way"] == "compile":
        passed = torch.compile(lambda images: network(images).logits)
        function, named = torch.compile(one_function), dict(network.named_parameters())
        losses = {"distill": lambda: on_logits(passed(x)), "jacobian": lambda: function(named)}
    found = {}
    for name, loss in losses.items():

        def step(loss: Callable[[], Any] = loss) -> None:
            optimiser.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=how["way"] == "bfloat16"):
                value = loss()
            torch.autograd.backward(value, inputs=weights)
            optimiser.step()

        if how["way"] == "bfloat16" and name == "jacobian":
            continue  # the replayed pass is of one precision
        began = time.perf_counter()
        step()
        found[f"{name}, first"] = time.perf_counter() - began
        times = []
        while len(times) < 8 or (sum(times) < 3 and len(times) < 400):
            began = time.perf_counter()
            step()
            times.append(time.perf_counter() - began)
        found[name] = 1000 * statistics.median(times[2:])
    return found


def main() -> None:
    """Print the table, or (in a process of its own) one line of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--students", default=",".join(STUDENTS))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        student, how = json.loads(chosen.one)
        print(json.dumps(measure(student, how)))
        return
    for student in chosen.students.split(","):
        architecture, channels, size, _, batch = STUDENTS[student]
        print(f"\n{student}: {architecture}, {batch} images of {channels}×{size}×{size}")
        print(f"{'':<28}{'distill':>12}{'':>8}{'jacobian':>12}{'':>8}   first step")
        base: dict[str, float] = {}
        for name, how in LINES:
            asked = json.dumps([student, how])
            done = subprocess.run(
                [sys.executable, __file__, "--one", asked], capture_output=True, text=True, check=False
            )
            if done.returncode:
                print(f"{name:<28}  failed: {done.stderr.strip().splitlines()[-1]}")
                continue
            found = json.loads(done.stdout)
            base = base or found
            cells = [
                f"{found[m]:9.2f} ms{base[m] / found[m]:6.2f} ×" if m in found else f"{'–':>20}"
                for m in ("distill", "jacobian")
            ]
            first = max(value for key, value in found.items() if key.endswith("first"))
            print(f"{name:<28}{cells[0]}{cells[1]}   {first:6.1f} s", flush=True)


if __name__ == "__main__":
    main()
