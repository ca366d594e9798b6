"""Recorded functions on a GPU, where one is there: the same numbers as operation by operation."""

import pytest
import torch
from torch import nn

from pyro_vae.compiled import Recorded
from pyro_vae.compiled.cuda_graph import Captured

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_recorded_function_is_the_function(precision):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(20, 50), nn.Tanh(), nn.Linear(50, 7)).cuda()
    recorded = Recorded(lambda x: {"mean": net(x).exp(), "sum": net(x).sum()}, [net], precision=precision)
    with torch.no_grad():
        for seed in range(5):
            x = torch.randn(30, 20, generator=torch.Generator().manual_seed(seed)).cuda()
            found, expected = recorded(x), recorded.function(x)
            for name in expected:
                tolerance = 1e-5 if precision == "fp32" else 0.05
                torch.testing.assert_close(found[name], expected[name], rtol=tolerance, atol=20 * tolerance)
    assert recorded.num_graphs == 1
    assert recorded.backend == "inductor"  # compiling did not fail


def test_gradients_and_random_numbers_are_those_of_the_function():
    torch.manual_seed(0)
    net = nn.Linear(5, 5).cuda()
    x = torch.randn(8, 5).cuda()

    def loss(x):
        return (net(x) + torch.randn_like(x)).square().sum()

    recorded = Recorded(loss, [net])
    for seed in range(5):
        results = []
        for function in (loss, recorded):
            torch.manual_seed(seed)
            net.zero_grad()
            value = function(x)
            value.backward()
            results.append((value.item(), net.weight.grad.clone()))
        (value, gradient), (again, its_gradient) = results
        assert again == pytest.approx(value, rel=1e-5)
        torch.testing.assert_close(its_gradient, gradient, rtol=1e-4, atol=1e-4)
    assert recorded.backend == "inductor"


def test_a_captured_function_runs_once_a_call():
    weight = torch.ones(3, device="cuda")

    def step(chosen, weight):
        weight.add_(chosen)
        return [2 * weight]

    captured = Captured(step, changing=[0])
    for number in range(1, 6):
        (found,) = captured(torch.full((3,), float(number), device="cuda"), weight)
        assert torch.equal(found, 2 * weight)
        assert torch.equal(weight.cpu(), torch.full((3,), 1.0 + number * (number + 1) / 2))
    assert captured.graph is not None
