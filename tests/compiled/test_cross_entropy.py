"""Cross-entropies summed by products equal those summed one by one, and other sums are left alone."""

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.functional import binary_cross_entropy_with_logits

from pyro_vae.compiled.cross_entropy import MOST, cross_entropies_by_products

aten = torch.ops.aten


def log_prob(logits, targets):
    """As torch's Bernoulli in an Independent has it."""
    pixels = -binary_cross_entropy_with_logits(logits, targets.expand(logits.shape), reduction="none")
    return pixels.reshape(*logits.shape[:2], -1).sum(-1)


def rewritten(function, *inputs):
    module = make_fx(function)(*inputs)
    cross_entropies_by_products(module)
    return module, any(node.target is aten.prod.dim_int for node in module.graph.nodes)


def images(*event_shape, spread=3.0):
    torch.manual_seed(0)
    return spread * torch.randn(5, 3, *event_shape), torch.rand(3, *event_shape).round()


@pytest.mark.parametrize("event_shape", [(1, 28, 28), (64,), (3, 32, 32), (28, 20)])
def test_equal_to_the_sum_in_double_precision(event_shape):
    logits, targets = images(*event_shape)
    module, changed = rewritten(log_prob, logits, targets)
    assert changed
    exact = log_prob(logits.double(), targets.double())
    found = module(logits, targets)
    assert (found - exact).abs().max() <= 2 * (log_prob(logits, targets) - exact).abs().max() + 1e-5


@pytest.mark.parametrize("spread", [0.0, 200.0])  # factors of 2, whose product is largest, and those of 1
def test_extreme_logits_neither_overflow_nor_vanish(spread):
    logits, targets = images(16 * MOST, spread=spread)
    module, changed = rewritten(log_prob, logits, targets)
    assert changed
    torch.testing.assert_close(module(logits, targets), log_prob(logits, targets))


def test_a_logit_that_is_not_a_number_shows():
    logits, targets = images(64)
    logits[1, 2, 5] = torch.nan
    module, _ = rewritten(log_prob, logits, targets)
    assert module(logits, targets).isnan().nonzero().tolist() == [[1, 2]]


@pytest.mark.parametrize(
    "function",
    [
        lambda logits, targets: log_prob(logits.double(), targets.double()),
        lambda logits, targets: -binary_cross_entropy_with_logits(logits, targets.expand(5, 3, 64)),
        lambda logits, targets: log_prob(logits[..., :60], targets[..., :60]),
        lambda logits, targets: (
            -binary_cross_entropy_with_logits(logits, targets.expand(5, 3, 64), reduction="none")
        ).sum(0),
    ],
    ids=["float64", "mean", "60 pixels", "sum over samples"],
)
def test_other_sums_are_left_alone(function):
    logits, targets = images(64)
    module, changed = rewritten(function, logits, targets)
    assert not changed
    assert torch.equal(module(logits, targets), function(logits, targets))
