from __future__ import annotations

import pytest
import torch

from so8t.models.penalty import second_differences, triples, weight_at


def test_the_value_is_that_of_a_hand_computation():
    """Two rows, one of them padded, against sums written out by hand."""
    hidden = torch.tensor(
        [
            # second differences (3 - 4 + 0, 0) = (-1, 0) and (4 - 6 + 2, 9 - 0 + 0) = (0, 9)
            [[0.0, 0.0], [2.0, 0.0], [3.0, 0.0], [4.0, 9.0]],
            # (1 - 2 + 5, 1 - 2 + 1) = (4, 0); what follows is padding and would count thousands
            [[5.0, 1.0], [1.0, 1.0], [1.0, 1.0], [999.0, 999.0]],
        ]
    )
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    assert triples(mask).tolist() == [[True, True], [True, False]]
    by_hand = (1 + 0) / 2 + (0 + 81) / 2 + (16 + 0) / 2
    assert second_differences(hidden, mask).item() == pytest.approx(by_hand)


def test_even_motion_costs_nothing_and_rows_do_not_touch():
    """A straight line has no second difference; two examples in a row are not compared."""
    line = torch.arange(12.0).reshape(1, 6, 2)
    assert second_differences(line, torch.ones(1, 6)).item() == 0
    jump = line.clone()
    jump[0, 3:] += 100
    assert second_differences(jump, torch.tensor([[1, 1, 1, 2, 2, 2]])).item() == 0
    assert second_differences(jump, torch.ones(1, 6)).item() > 1000


def test_the_gradient_is_that_of_finite_differences():
    """Autograd agrees with finite differences, and padding gets none."""
    torch.manual_seed(1)
    hidden = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    # The function itself computes in float32, so the steps are coarse.
    assert torch.autograd.gradcheck(
        lambda x: second_differences(x, mask).double(), hidden, eps=1e-2, atol=2e-3, rtol=2e-3
    )
    second_differences(hidden, mask).backward()
    assert torch.all(hidden.grad[1, 3:] == 0)
    assert torch.all(hidden.grad[0] != 0)


def test_the_three_phases():
    """Weights 0.01, 0.05 and 0.1 begin at 0, 20 and 60 % of the steps."""
    assert [weight_at(step, 10) for step in range(10)] == [0.01] * 2 + [0.05] * 4 + [0.1] * 4
    assert weight_at(0, 1) == 0.01
