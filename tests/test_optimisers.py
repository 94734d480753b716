"""Optimisers without torch's compiler take the same steps, and a trial does not import it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from jkbench.engine.optimisers import uncompiled


@pytest.mark.parametrize(
    ("kind", "more"),
    [(torch.optim.Adam, {"fused": True}), (torch.optim.AdamW, {"fused": True}), (torch.optim.SGD, {"momentum": 0.9})],
)
def test_the_steps_are_those_of_torch_to_the_bit(kind: type[torch.optim.Optimizer], more: dict[str, Any]) -> None:
    def trained(of: Any) -> torch.Tensor:
        torch.manual_seed(0)
        weights = torch.nn.Parameter(torch.randn(40))
        optimiser = of([weights], lr=0.01, weight_decay=0.1, **more)
        for step in range(12):
            optimiser.zero_grad(set_to_none=True)
            (weights * torch.randn(40)).square().sum().backward()
            optimiser.step()
            if step == 5:
                optimiser.load_state_dict(optimiser.state_dict())
        return weights.detach()

    with torch.random.fork_rng():
        assert torch.equal(trained(kind), trained(uncompiled(kind)))


def test_a_trial_does_not_import_the_compiler(tmp_path: Path) -> None:
    program = (
        "import sys, small; from pathlib import Path; from jkbench.plugins.discovery import discover\n"
        "from jkbench.engine.trial import run\n"
        "record = run(small.trial(discover(), 'jacobian'), small.where(Path(sys.argv[1])))\n"
        "assert record.status == 'ok', record.message\n"
        "assert 'torch._dynamo' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], cwd=Path(__file__).parent, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
