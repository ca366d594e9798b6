"""Every objective: what its loss is, that it can be recorded, and that the command line knows it."""

import pytest
import torch
from examples import OBJECTIVES, LinearGaussian

from pyro_vae import CompiledELBO
from pyro_vae.objectives.accepted import as_objective
from pyro_vae.runs.parts import build_objective, short_names

every_objective = pytest.mark.parametrize("objective", OBJECTIVES)


@pytest.fixture
def linear():
    module = LinearGaussian()
    return module, module.bias.detach() + 2 * torch.randn(8, 5)


@every_objective
def test_the_loss_is_minus_log_p_with_the_exact_posterior_and_above_it_with_another(linear, objective):
    (module, x), make = linear, OBJECTIVES[objective]
    truth = -module.log_prob(x).sum()
    exact, other = (
        torch.tensor([make().loss(module.model, guide, x) for _ in range(100)], dtype=torch.float64)
        for guide in (module.guide, module.mediocre_guide)
    )
    assert (exact.mean() - truth).abs() < 5 * exact.std() / 10 + 1e-5 * truth.abs()  # rounding
    assert other.mean() > truth


@pytest.mark.filterwarnings("ignore:.* leaves .* uncompiled")  # TraceEnum_ELBO looks at values
@every_objective
def test_a_recorded_loss_and_its_gradients_are_the_plain_ones(linear, objective):
    (module, x), found = linear, []
    for elbo in (OBJECTIVES[objective](), CompiledELBO(OBJECTIVES[objective](), backend="eager")):
        assert as_objective(elbo) is elbo
        for seed in (0, 1):  # the first of the recorded ones is recorded, the second is a replay
            torch.manual_seed(seed)
            module.zero_grad()
            loss = elbo.loss_and_grads(module.model, module.mediocre_guide, x)
            found.append([torch.as_tensor(loss), *(p.grad for p in module.parameters())])
    torch.testing.assert_close(found[2:], found[:2], rtol=1e-4, atol=1e-4)


@every_objective
def test_the_command_line_knows_it(objective):
    name = type(OBJECTIVES[objective]()).__name__
    assert name in short_names("objective")
    assert type(build_objective({"class_path": name})).__name__ == name
