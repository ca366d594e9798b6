"""Latents on the grid: codes of any point are taken back, draws are those of the distribution, costs its density."""

import re

import numpy as np
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyro_vae import encoders, priors
from pyro_vae.compression.latent_grid import FARTHEST, Independent, coder_of, step_exponent
from pyro_vae.compression.stack import Stack


def stack_of(count):
    rng = np.random.default_rng(0)
    return Stack(
        rng.integers(1, 1 << 32, count, dtype=np.uint32), lambda n: rng.integers(1, 1 << 32, n, dtype=np.uint32)
    )


LOC, SCALE = torch.tensor([[0.3, -2.0], [5.0, 0.0]]), torch.tensor([[0.05, 1.0], [3.0, 1e-4]])
DISTRIBUTIONS = {
    "normal": dist.Normal(LOC, SCALE).to_event(1),
    "laplace": dist.Laplace(LOC, SCALE).to_event(1),
    "mixture": dist.MixtureSameFamily(
        dist.Categorical(logits=torch.tensor([[0.0, 1.0], [2.0, -9.0]])),
        dist.Normal(torch.stack([LOC, -LOC], 1), SCALE[:, None]).to_event(1),
    ),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.lists(st.one_of(st.integers(-300, 300), st.integers(-FARTHEST, FARTHEST - 1)), min_size=4, max_size=4),
    st.integers(-20, 4),
)
def test_any_point_is_taken_back_however_far_out(name, points, exponent):
    stack, points = stack_of(8), np.array(points).reshape(2, 2)
    coder = coder_of("z", DISTRIBUTIONS[name], 2, 2.0**exponent)
    coder.push(stack, points)
    assert (coder.pop(stack) == points).all()


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_draws_are_those_of_the_distribution(name):
    """Compared with draws of torch, which the grid rounds, and given back bit for bit."""
    fn = DISTRIBUTIONS[name]
    count, step = 2000, 2.0**-14
    stack = stack_of(1 << 16)
    before = stack.words
    wide = fn.expand((count, 2))
    rows = [coder_of("z", _row(fn, row).expand((count,)), count, step) for row in (0, 1)]
    draws = [coder.pop(stack) for coder in rows]
    truth = np.rint(wide.sample().numpy() / step)
    for row, points in enumerate(draws):
        for d in range(2):
            assert scipy.stats.ks_2samp(points[:, d], truth[:, row, d]).pvalue > 1e-4
    for coder, points in reversed([*zip(rows, draws, strict=True)]):
        coder.push(stack, points)
    assert (stack.words == before).all()


def _row(fn, row):
    if isinstance(fn, dist.MixtureSameFamily):
        parts = fn.component_distribution.base_dist
        logits = fn.mixture_distribution.logits[row]
        return dist.MixtureSameFamily(
            dist.Categorical(logits=logits), dist.Normal(parts.loc[row], parts.scale[row]).to_event(1)
        )
    return type(fn.base_dist)(LOC[row], SCALE[row]).to_event(1)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_the_cost_is_minus_log_density_and_the_cell(name):
    """On average over draws, within five standard errors and 0.1%."""
    count, step = 4000, 2.0**-6
    fn = _row(DISTRIBUTIONS[name], 0).expand((count,))
    z = fn.sample()
    points = np.rint(z.numpy() / step).astype(np.int64)
    stack = stack_of(4000)
    before = 32 * len(stack.words)
    coder_of("z", fn, count, step).push(stack, points)
    cost = (32 * len(stack.words) - before) / count
    truth = (-fn.log_prob(torch.from_numpy(points * step).float()) / np.log(2) - 2 * np.log2(step)).double().numpy()
    assert abs(cost - truth.mean()) < 0.02


def test_steps_are_below_half_of_the_smallest_scale_where_the_grid_reaches_so_far():
    for scale, farthest in [(1e-9, 1.0), (1e-3, 10.0), (0.05, 10.0), (1.0, 10.0), (1e9, 1e10), (1e-3, 1e6)]:
        coder = Independent("normal", np.full((1, 1), farthest - 8 * scale), np.full((1, 1), scale), np.ones(1))
        step = 2.0 ** step_exponent(coder)
        assert FARTHEST / 2 * step >= farthest
        assert step in (2.0**-20, 16.0) or scale / 4 <= step <= scale / 2 or step < 4 * farthest / FARTHEST * 2


@pytest.mark.parametrize(
    "fn",
    [
        dist.Gamma(torch.ones(2, 3), 1.0).to_event(1),
        dist.Normal(torch.zeros(3), 1.0).to_event(1),
        dist.MultivariateNormal(torch.zeros(2, 3), torch.eye(3)),
    ],
)
def test_other_latents_are_refused(fn):
    with pytest.raises(ValueError, match=r"at the latent site 'z'; got .* train with StandardNormal") as refused:
        coder_of("z", fn, 2, 1.0)
    advised = re.findall(r"[A-Z]\w+", str(refused.value).partition(" train with ")[2])
    assert all(hasattr(priors, name) or hasattr(encoders, name) for name in advised), advised


def test_parameters_that_are_not_finite_are_refused():
    fn = dist.Normal(torch.full((1, 2), float("nan")), 1.0, validate_args=False).to_event(1)
    with pytest.raises(ValueError, match="Expected finite parameters"):
        coder_of("z", fn, 1, 1.0)
