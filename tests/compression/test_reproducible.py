"""The mode computes what torch does, the same on any number of threads and compiled or not, or refuses."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional

from pyro_vae.compression.reproducible import reproducible
from pyro_vae.pairs.contexts import unvalidated

OPERATIONS = {
    "exp": torch.exp,
    "log": lambda x: x.abs().log(),
    "sigmoid": torch.sigmoid,
    "softplus": functional.softplus,
    "logsigmoid": functional.logsigmoid,
    "elu": functional.elu,
    "gelu": functional.gelu,
    "tanh gelu": lambda x: functional.gelu(x, approximate="tanh"),
    "silu": functional.silu,
    "glu": functional.glu,
    "leaky": functional.leaky_relu,
    "softmax": lambda x: x.softmax(-1),
    "log_softmax": lambda x: x.log_softmax(0),
    "logsumexp": lambda x: x.logsumexp((0, 1), keepdim=True),
    "mean": lambda x: x.mean(1),
    "of all": lambda x: x.sum() + x.exp().mean(),
    "var": lambda x: ((x - x.mean(-1, keepdim=True)) ** 2).sum(-1).sqrt(),
    "cumsum": lambda x: x.cumsum(-1),
    "logaddexp": lambda x: torch.logaddexp(x, 2 * x),
    "powers": lambda x: x**2 + x.abs() ** -0.5 + 1 / x + x.abs().rsqrt() + x**3,
    "linear": nn.Linear(6, 3),
    "einsum": lambda x: torch.einsum("ab,cb->ac", x, x),
    "batched": lambda x: x.reshape(2, 2, 6) @ x.reshape(2, 6, 2),
    "conv": nn.Sequential(nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 2, 2), nn.ConvTranspose2d(2, 1, 2), nn.Flatten()),
    "layer norm": nn.LayerNorm(6),
    "batch norm": nn.BatchNorm1d(6).eval(),
    "chunks": lambda x: torch.cat([a * b for a, b in itertools.pairwise(x.chunk(3, -1))]),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_are_those_of_torch(name):
    x = torch.randn(4, 6)
    with torch.no_grad():
        truth = OPERATIONS[name](x)
    with reproducible():
        found = OPERATIONS[name](x)
        again = OPERATIONS[name](x)
    assert (found.dtype, found.shape) == (truth.dtype, truth.shape)
    torch.testing.assert_close(found, truth, rtol=1e-5, atol=1e-5)
    assert torch.equal(found, again)


def test_threads_and_compilation_change_no_bit(as_before):
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(784, 300), nn.Tanh(), nn.Linear(300, 257), nn.Softplus()).requires_grad_(False)
    compiled, x = torch.compile(network), torch.randn(64, 784)
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for function in (network, compiled):
            with reproducible():
                found.append(function(x))
    assert all(torch.equal(found[0], each) for each in found[1:])
    torch.testing.assert_close(found[0], network(x))


@pytest.fixture
def as_before():
    """torch.compile switches off validation."""
    threads = torch.get_num_threads()
    with unvalidated():
        yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    "operation", [torch.sin, torch.rand_like, torch.lgamma, lambda x: x**2.5, lambda x: torch.add(x, x, alpha=0.3)]
)
def test_what_has_no_such_form_is_refused(operation):
    with pytest.raises(ValueError, match=r"^Expected .* got"), reproducible():
        operation(torch.ones(2))
