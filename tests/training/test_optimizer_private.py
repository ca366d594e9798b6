"""Each private interface of torch's optimizers that training uses, by itself: torch 2.14.1 has them.

A test that fails after an upgrade names what has changed: `pyro_vae/training/optimizer_private.py` is where to mend it.
"""

import pytest
import torch

from pyro_vae.training.optimizer_private import MOMENTS, skip_step_if


@pytest.mark.parametrize("skips", [False, True])
def test_a_fused_optimizer_skips_a_step(skips):
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight], lr=0.1, fused=True)
    weight.grad = torch.full((3,), torch.nan if skips else 1.0)
    skip_step_if(optimizer, torch.tensor(skips))
    optimizer.step()
    torch.testing.assert_close(weight.detach(), torch.full((3,), 1.0 if skips else 0.9))
    assert optimizer.state[weight]["step"] == (0 if skips else 1)


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
def test_adam_keeps_two_moments_and_its_number_of_steps(kind):
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = kind([weight], fused=True)
    weight.grad = torch.ones(3)
    optimizer.step()
    assert set(optimizer.state[weight]) == set(MOMENTS)
