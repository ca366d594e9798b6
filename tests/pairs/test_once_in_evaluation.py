"""What depends on parameters alone is computed once in an evaluation, and follows them everywhere else."""

import pytest
import torch
from examples import vae

from pyro_vae.pairs.contexts import evaluating, once_in_evaluation


@pytest.mark.parametrize("name", ["VampPrior", "ExemplarPrior"])
def test_a_prior_made_of_codes_encodes_them_once_in_an_evaluation(name):
    pair = vae(name)
    prior = pair.model.__self__.prior
    calls, z = [], torch.randn(4, prior().event_shape[0])
    handle = prior.encoder.register_forward_hook(lambda *_: calls.append(1))

    def twice():
        with evaluating(pair.model, pair.guide):
            calls.clear()
            found = [prior().log_prob(z) for _ in range(2)]
        assert torch.equal(*found)
        return found[0], len(calls)

    first, count = twice()
    assert count == 1
    prior.eval()
    torch.testing.assert_close(prior().log_prob(z), first)
    with torch.no_grad():
        for parameter in prior.encoder.parameters():
            parameter.mul_(1.5)
    assert not torch.allclose(prior().log_prob(z), first)
    torch.testing.assert_close(twice()[0], prior().log_prob(z))
    handle.remove()


def test_outside_of_an_evaluation_everything_is_made_anew_with_gradients():
    module = torch.nn.Linear(2, 2)
    made = [once_in_evaluation(module, lambda: module(torch.ones(2))) for _ in range(2)]
    assert made[0] is not made[1]
    assert made[0].requires_grad
