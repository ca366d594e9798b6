"""What depends on parameters alone is computed once in an evaluation, and nothing else is."""

import pytest
import torch
from examples import vae
from pyro.infer import Trace_ELBO
from torch.fx.experimental.proxy_tensor import make_fx

from pyro_vae import CompiledELBO, log_marginal
from pyro_vae.compiled.hoisting import split_invariant
from pyro_vae.pairs.contexts import seeded
from pyro_vae.pairs.modules import modules_of


def products(module):
    names = (str(node.target) for node in module.graph.nodes if node.op == "call_function")
    return sum(name.startswith(("aten.mm", "aten.addmm")) for name in names)


def split(function, *inputs):
    """The two parts of a function whose first input changes; None if it stays whole."""
    return split_invariant(make_fx(function)(*inputs), [0])


def of_weights(x, w):
    codes = (w @ w).tanh()
    return (x @ codes + codes.sum(0)).logsumexp(-1)


def of_random_weights(x, w):
    return x @ ((w + torch.randn_like(w)) @ w)


def of_filled_memory(x, w):
    rows = torch.empty(3, 3)
    rows[1:].copy_(x[1:])
    return rows.copy_(x).mul_(2.0) @ w


def of_memory_filled_in_parts(x, w):
    rows = torch.zeros(3, 3)
    first, others = rows.split([1, 2])
    others[:1].copy_(x[:1])
    first.unsqueeze(0)[0].add_(x[:1])
    return rows @ w


def of_change_through_an_unsaid_view(x, w):
    return x @ (torch.ops.aten._unsafe_view(w @ w, [3, 3]).relu_() @ w)


def of_running_means(x, w):
    torch.batch_norm(x, None, None, w[0], w[1], True, 0.1, 1e-5, False)
    return x @ (w @ w)


def of_changed_input(x, w):
    return x @ (w.add_(1.0) @ w)


def of_weights_for_each_row(x, w):
    return x[:, None] + (w @ w).expand(5, 3, 3).clone()


@pytest.mark.parametrize(
    ("function", "moved"),
    [
        (of_weights, 1),
        (of_weights_for_each_row, 1),
        (of_random_weights, None),
        (of_filled_memory, None),
        (of_memory_filled_in_parts, None),
        (of_change_through_an_unsaid_view, None),
        (of_running_means, None),
        (of_changed_input, None),
    ],
)
def test_products_of_what_stays_move(function, moved):
    w = torch.randn(3, 3)
    parts = split(function, torch.randn(5 if moved else 3, 3), w.clone())
    assert (None if parts is None else products(parts[0])) == moved
    for x in (torch.randn(5, 3), torch.randn(5, 3)) if moved else ():
        once, rest = parts
        found, known = rest(x, w, *once(torch.zeros_like(x), w)), function(x, w)
        assert torch.equal(found, known)
        assert sum(tensor.numel() for tensor in once(x, w)) <= 12  # what is larger than w is made where it is used


@pytest.mark.filterwarnings("ignore::pyro_vae.HeavyTail")
@pytest.mark.parametrize(("prior", "moves"), [("VampPrior", True), ("ExemplarPrior", True), ("StandardNormal", False)])
def test_log_marginal_is_the_same(prior, moves, monkeypatch):
    pair = vae(prior)
    plain = log_marginal(pair.model, pair.guide, pair.x, num_samples=200, chunk_size=100, seed=1, compile=False)
    moved = []

    def noting(module, changing):
        parts = split_invariant(module, changing)
        moved.append(parts is not None and products(parts[0]) > 0)
        return parts

    def recorded(elbo, *, settled, **_):
        return CompiledELBO(elbo, backend="eager", settled=settled)

    monkeypatch.setattr("pyro_vae.compiled.recording.split_invariant", noting)
    monkeypatch.setattr("pyro_vae.evidence.sampler.compile_if_worthwhile", recorded)
    found = log_marginal(pair.model, pair.guide, pair.x, num_samples=200, chunk_size=100, seed=1)
    assert moved == [moves]
    torch.testing.assert_close(found.log_prob, plain.log_prob, atol=1e-4, rtol=0)


def test_the_settled_part_is_computed_once_and_only_if_asked_for():
    """Of the pseudo-inputs, which nothing else looks at, a settled objective keeps what it made at first."""
    pair = vae("VampPrior")
    for settled in (False, True):
        elbo, losses = CompiledELBO(Trace_ELBO(), backend="eager", settled=settled), []
        for step in range(5):
            with seeded(0), torch.no_grad():
                modules_of(pair.model, pair.guide)["pair"].prior.pseudo_inputs.mul_(0.5 if step == 4 else 1.0)
                losses.append(float(elbo.loss(pair.model, pair.guide, pair.x)))
        assert losses[2] == losses[3]
        assert (losses[3] == losses[4]) == settled
