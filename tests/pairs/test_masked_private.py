"""Masks inside distributions are found, whatever they are wrapped in."""

import pyro.distributions as dist
import pytest
import torch

from pyro_vae.pairs.masked_private import mask_inside

KNOWN = torch.tensor([[True, False], [True, True], [False, False]])
NORMAL = dist.Normal(torch.zeros(3, 2), 1.0)


@pytest.mark.parametrize(
    ("fn", "expected"),
    [
        (NORMAL.to_event(1), None),
        (NORMAL.mask(True).to_event(1), None),
        (NORMAL.mask(False).to_event(1), torch.tensor(False)),
        (NORMAL.mask(KNOWN).to_event(1), KNOWN),
        (NORMAL.mask(KNOWN).expand([4, 3, 2]).to_event(1), KNOWN.expand(4, 3, 2)),
        (NORMAL.to_event(1).mask(KNOWN[:, 0]), KNOWN[:, :1]),
        (NORMAL.mask(KNOWN).to_event(1).mask(KNOWN[:, 0]), KNOWN & KNOWN[:, :1]),
    ],
)
def test_which_values_count(fn, expected):
    found = mask_inside(fn)
    assert (found is None) == (expected is None)
    if expected is not None:
        assert torch.equal(found, expected)
        values = torch.randn(fn.shape())
        assert torch.equal(fn.log_prob(values), torch.where(found, NORMAL.log_prob(values), 0.0).sum(-1))
