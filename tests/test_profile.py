"""Operations of a step, counted as they are defined."""

from pathlib import Path

import pytest
import small
import torch
from torch import nn

from jkbench.engine import profile as profiling
from jkbench.engine.profile import _Counter
from jkbench.plugins.discovery import discover


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_a_convolution_costs_three_times_its_forward_pass_whatever_its_groups(groups: int) -> None:
    """Two operations for each product of a weight and a place; gradients by input and by weight cost as much each."""
    layer = nn.Conv2d(6, 6, 3, padding=1, groups=groups)
    x = torch.randn(2, 6, 5, 5, requires_grad=True)
    with _Counter() as counter:
        layer(x).sum().backward()
    assert counter.operations == 3 * 2 * (2 * 25) * layer.weight.numel()


def test_the_network_that_is_deployed_is_timed_in_evaluation_and_left_as_it_was(
    tmp_path: Path,
) -> None:
    loop, _, student, _ = small.loop_of(small.trial(discover(), "distill"), tmp_path)
    student.train()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    modes = []
    student.register_forward_hook(lambda network, *_: modes.append(network.training))
    assert profiling._answer_seconds(student, loop) > 0
    assert modes == [False] * (profiling.WARM_UP + profiling.STEPS)
    assert student.training
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
