"""Operations of a step, counted as they are defined."""

import pytest
import torch
from torch import nn

from jkbench.engine.profile import _Counter


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_a_convolution_costs_three_times_its_forward_pass_whatever_its_groups(groups: int) -> None:
    """Two operations for each product of a weight and a place; gradients by input and by weight cost as much each."""
    layer = nn.Conv2d(6, 6, 3, padding=1, groups=groups)
    x = torch.randn(2, 6, 5, 5, requires_grad=True)
    with _Counter() as counter:
        layer(x).sum().backward()
    assert counter.operations == 3 * 2 * (2 * 25) * layer.weight.numel()
