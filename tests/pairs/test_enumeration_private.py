"""The private interface of Pyro's variable elimination that the library uses: pyro-ppl 1.9.2 has it.

A test that fails after an upgrade names what has changed: `pyro_vae/pairs/enumeration_private.py` is where to mend it.
"""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine

from pyro_vae.pairs.enumeration_private import ExactLogRing, summed_log_prob


def test_factors_have_the_dimensions_that_pyro_names():
    def model():
        with pyro.plate("data", 3, dim=-1):
            k = pyro.sample("k", dist.Categorical(torch.ones(4)), infer={"enumerate": "parallel"})
            pyro.sample("x", dist.Normal(k.float(), 1.0), obs=torch.arange(3.0))

    trace = poutine.trace(poutine.enum(model, first_available_dim=-2)).get_trace()
    trace.compute_log_prob()
    log_probs = {name: trace.nodes[name]["log_prob"] for name in ("k", "x")}
    every = summed_log_prob(trace, log_probs, {"data": 3})
    torch.testing.assert_close(every, (log_probs["k"] + log_probs["x"]).logsumexp(0))
    drawn = {"k": torch.tensor([2, 0, 1])}
    one = summed_log_prob(trace, log_probs, {"data": 3}, drawn)
    torch.testing.assert_close(one, (log_probs["k"] + log_probs["x"])[drawn["k"], range(3)])


def test_the_ring_sums_products():
    a, b = torch.randn(2, 3), torch.randn(3, 4)
    a._pyro_dims, b._pyro_dims = "ab", "bc"
    found = ExactLogRing().sumproduct([a, b], {"b"})
    assert sorted(found._pyro_dims) == ["a", "c"]
    truth = (a.exp() @ b.exp()).log()
    torch.testing.assert_close(found if found._pyro_dims == "ac" else found.T, truth)
