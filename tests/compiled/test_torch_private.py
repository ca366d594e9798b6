"""Each private interface of torch and Pyro that the room uses, by itself: torch 2.14.1 and pyro-ppl 1.9.2 have them.

A test that fails after an upgrade names what has changed, and `pyro_vae/compiled/torch_private.py` is where to mend it.
"""

import logging

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn

from pyro_vae.compiled import torch_private

ONEDNN = torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX512"


def test_make_fx_records_operations_and_holds_tensors_that_it_was_not_given():
    weight = torch.ones(3)
    module = torch_private.make_fx(lambda x: x * weight)(torch.ones(3))
    assert torch.equal(module(torch.full((3,), 2.0)), torch.full((3,), 2.0))
    assert [node.target for node in module.graph.nodes if node.op == "call_function"] == [torch.ops.aten.mul.Tensor]
    (name,) = torch_private.held_tensors(module)
    assert getattr(module, name) is weight


def test_it_is_known_when_operations_are_recorded_and_their_shapes_belong_to_one_mode():
    def function(x):
        assert torch_private.is_recording()
        return (x + 1).exp()

    with torch_private.shapes_noted_once():
        module = torch_private.make_fx(function)(torch.ones(3))
    assert not torch_private.is_recording()
    assert len({id(node.meta["val"].fake_mode) for node in module.graph.nodes if "val" in node.meta}) == 1


def test_handlers_are_those_around_a_call():
    assert list(torch_private.handlers()) == []
    with poutine.trace(param_only=True) as params:
        assert list(torch_private.handlers()) == [params]
        assert torch_private.only_captures_params(params)
    with poutine.trace() as everything:
        assert not torch_private.only_captures_params(everything)
    assert not torch_private.only_captures_params(poutine.scale(scale=2.0))


def test_no_value_is_checked_and_checks_return():
    made_before = dist.Bernoulli(0.5, validate_args=True)
    with torch_private.without_value_checks():
        assert made_before.log_prob(torch.tensor(7.0)).isfinite()
        dist.Normal(0.0, -1.0)
        assert not pyro.util.torch_isnan(torch.tensor(torch.nan))
    with pytest.raises(ValueError, match="support"):
        made_before.log_prob(torch.tensor(7.0))
    assert pyro.util.torch_isnan(torch.tensor(torch.nan))


def test_modules_keep_what_they_hold_in_dicts():
    module = nn.BatchNorm1d(3)
    module.part = nn.Identity()
    attributes, parameters, buffers, parts = torch_private.entries_of(module)
    assert attributes["eps"] == module.eps
    assert parameters["weight"] is module.weight
    assert buffers["running_mean"] is module.running_mean
    assert parts == {"part": module.part}


def test_leaves_have_nodes_of_a_known_name():
    weight = nn.Parameter(torch.ones(()))
    ((node, _),) = (2 * weight).grad_fn.next_functions[:1]
    assert node.name() == torch_private.ACCUMULATES
    assert node.variable is weight


def test_operations_have_their_names():
    x = torch.eye(3)
    assert torch_private.CAST(x, dtype=torch.bfloat16).dtype == torch.bfloat16
    module = torch_private.make_fx(lambda x: (torch.linalg.cholesky(x), x.multinomial(1)))(x)
    used = {getattr(node.target, "overloadpacket", None) for node in module.graph.nodes}
    assert used & set(torch_private.READS_FROM_GPU) == {torch.ops.aten._linalg_check_errors, torch.ops.aten.multinomial}


@pytest.mark.skipif(not ONEDNN, reason="oneDNN is used with AVX-512 alone")
def test_linear_by_onednn_is_a_product():
    left, right = torch.randn(4, 3), torch.randn(5, 3).t()
    torch.testing.assert_close(torch_private.linear_by_onednn(left, right), left @ right)


def test_the_compiler_gives_what_the_graph_gives_and_names_what_it_lacks():
    """By itself, with a graph and inputs; its own exception says that there is no compiler."""
    module = torch_private.make_fx(lambda x: [x.tanh() + torch.randn_like(x)])(torch.ones(3))
    run = torch_private.compiled_module(module, [torch.ones(3)], {})
    torch.manual_seed(0)
    (found,) = run(torch.zeros(3))
    torch.manual_seed(0)
    torch.testing.assert_close(found, torch.randn(3))
    none = torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",), "force_disable_caches": True})
    with none, pytest.raises(Exception, match="compiler") as caught:
        torch_private.compiled_module(torch_private.make_fx(torch.cos)(torch.ones(3)), [torch.ones(3)], {})
    assert torch_private.lacks_compiler(caught.value)
    assert not torch_private.lacks_compiler(OSError(28, "No space left on device"))
    assert logging.getLogger("torch").level != logging.ERROR
