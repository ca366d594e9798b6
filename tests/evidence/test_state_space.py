"""log p(x) of a linear-Gaussian state-space model is the Kalman filter's."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_vae import annealed_log_marginal, log_marginal

N, T = 5, 6
F = torch.tensor([[0.9, 0.3], [-0.2, 0.8]])  # z_t = F z_{t-1} + N(0, Q)
H = torch.tensor([[1.0, 0.5], [0.0, 1.0], [0.7, -0.3]])  # x_t = H z_t + u_t + N(0, R), u_t an input
Q, R, START = 0.3 * torch.eye(2), 0.5 * torch.eye(3), torch.eye(2)


def filtered(x, u):
    """log p(x|u) (N,) by the Kalman filter, and mean (N, 2) and covariance (2, 2) of each z_t given x up to t."""
    loc, covariance, total, steps = torch.zeros(len(x), 2), START, torch.zeros(len(x)), []
    for t in range(x.shape[1]):
        if t:
            loc, covariance = loc @ F.T, F @ covariance @ F.T + Q
        innovation = H @ covariance @ H.T + R
        error = x[:, t] - u[:, t] - loc @ H.T
        total = total + dist.MultivariateNormal(torch.zeros(3), innovation).log_prob(error)
        gain = covariance @ H.T @ torch.linalg.inv(innovation)
        loc, covariance = loc + error @ gain.T, covariance - gain @ H @ covariance
        steps.append((loc, covariance))
    return total, steps


def model(x, u):
    with pyro.plate("data", len(x), dim=-1):
        z = torch.zeros(2)
        for t in pyro.markov(range(T)):
            z = pyro.sample(f"z_{t}", dist.MultivariateNormal(z @ F.T, Q if t else START))
            pyro.sample(f"x_{t}", dist.MultivariateNormal(z @ H.T + u[:, t], R), obs=x[:, t])


def smoother(x, u):
    """All z_t from their posterior: backwards, each given the next one and the past."""
    steps = filtered(x, u)[1]
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample(f"z_{T - 1}", dist.MultivariateNormal(*steps[-1]))
        for t in reversed(range(T - 1)):
            loc, covariance = steps[t]
            gain = covariance @ F.T @ torch.linalg.inv(F @ covariance @ F.T + Q)
            spread = covariance - gain @ F @ covariance
            law = dist.MultivariateNormal(loc + (z - loc @ F.T) @ gain.T, (spread + spread.T) / 2)
            z = pyro.sample(f"z_{t}", law)


def filtering_guide(x, u):
    """Each z_t by itself, given the past alone: a Gaussian guide, and a wrong one."""
    with pyro.plate("data", len(x), dim=-1):
        for t, (loc, covariance) in enumerate(filtered(x, u)[1]):
            pyro.sample(f"z_{t}", dist.MultivariateNormal(loc, 1.5 * covariance))


@pytest.fixture
def inputs():
    u = torch.randn(N, T, 3)
    z, x = torch.randn(N, 2), []
    for t in range(T):
        z = z @ F.T + 0.3**0.5 * torch.randn(N, 2) if t else z
        x.append(z @ H.T + u[:, t] + 0.5**0.5 * torch.randn(N, 3))
    return torch.stack(x, 1), u


def test_one_draw_of_the_smoother_is_enough(inputs):
    result = log_marginal(model, smoother, inputs, num_samples=1, estimator="guide")
    assert torch.allclose(result.log_prob, filtered(*inputs)[0].double(), atol=1e-4)
    assert result.sites == {f"x_{t}": 3 for t in range(T)}


@pytest.mark.filterwarnings("ignore::pyro_vae.HeavyTail")  # said of a guide that is as wrong as this one
@pytest.mark.parametrize("estimator", ["guide", "auto"])
def test_importance_sampling(inputs, estimator):
    result = log_marginal(model, filtering_guide, inputs, num_samples=2000, estimator=estimator)
    assert ((result.log_prob - filtered(*inputs)[0]).abs() < 5 * result.standard_error + 1e-4).all()


def test_annealing(inputs, monkeypatch):
    monkeypatch.setattr("pyro_vae.evidence.annealed_chains.FIRST_TRANSITIONS", 10)
    monkeypatch.setattr("pyro_vae.evidence.annealed_chains.LEAST_TRANSITIONS", 20)
    few = tuple(entry[:1] for entry in inputs)
    settings = {"num_chains": 16, "num_temperatures": 10, "num_leapfrog": 2, "compile": False}
    result = annealed_log_marginal(model, filtering_guide, few, **settings)
    assert ((result.log_prob - filtered(*few)[0]).abs() < 5 * result.standard_error + 1e-4).all()
