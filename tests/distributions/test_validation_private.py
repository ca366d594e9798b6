"""The private interface of torch's validation that the library uses: torch 2.14.1 and pyro-ppl 1.9.2 have it.

A test that fails after an upgrade names what has changed: `pyro_vae/distributions/validation_private.py` is where to
mend it, and the distributions' own methods for the names that torch has for subclasses.
"""

import inspect

import pyro.distributions as dist
import pytest
import torch

from pyro_vae.distributions.validation_private import is_validated, validated_like


@pytest.mark.parametrize("checks", [False, True])
def test_a_distribution_checks_values_as_another_does(checks):
    other = dist.Normal(0.0, 1.0, validate_args=checks)
    bernoulli = validated_like(dist.Bernoulli(probs=torch.tensor(0.5), validate_args=not checks), other)
    assert is_validated(bernoulli) == is_validated(other) == checks
    if checks:
        with pytest.raises(ValueError, match="support"):
            bernoulli.log_prob(torch.tensor(7.0))
    else:
        assert bernoulli.log_prob(torch.tensor(7.0)).isfinite()


def test_what_is_built_with_no_checks_can_have_them_for_values_alone():
    wrong = dist.Normal(0.0, -1.0, validate_args=False)
    assert is_validated(validated_like(wrong, dist.Normal(0.0, 1.0, validate_args=True)))


def test_torch_has_these_methods_for_subclasses():
    methods = {"_validate_sample": ["value"], "_extended_shape": ["sample_shape"], "_get_checked_instance": ["cls"]}
    for name, first in methods.items():
        assert [*inspect.signature(getattr(dist.TorchDistribution, name)).parameters][1:2] == first
