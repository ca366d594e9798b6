"""Training on a GPU, where one is there: captured steps learn what plain ones learn."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import scipy.sparse
import torch
from examples import PAIRS, Bernoulli, GaussianEncoder, small_mlp
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from pyro_vae import VAE, StandardNormal, VampPrior, adam, fit
from pyro_vae.compiled.cuda_graph import Captured
from pyro_vae.pairs.modules import is_bound
from pyro_vae.training import NonFiniteLoss

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


def small_vae(x, prior="standard"):
    torch.manual_seed(1)
    encoder = GaussianEncoder(x.shape[1:], 3, network=small_mlp)
    pz = StandardNormal(3) if prior == "standard" else VampPrior(encoder, x, 5)
    return VAE(pz, encoder, small_mlp(3, x.shape[1:]), Bernoulli(x.shape[1:]))


def on_disk(x, path):
    np.save(path / "x.npy", x)
    return np.load(path / "x.npy", mmap_mode="r")


@pytest.fixture
def x():
    return torch.rand(130, 4, 4).round()


@pytest.mark.parametrize("prior", ["standard", "vamp"])
def test_captured_steps_have_the_losses_of_plain_ones(x, prior, monkeypatch):
    replays = []
    call = Captured.__call__

    def counted(self, *inputs):
        replays.append(self.graph is not None)
        return call(self, *inputs)

    monkeypatch.setattr(Captured, "__call__", counted)
    histories = []
    for compile in (False, True):
        vae = small_vae(x, prior)
        # Larger steps would let rounding grow: two plain runs on another device part in the same way.
        settings = {"epochs": 8, "batch_size": 32, "kl_weight": 0.7, "optimizer": adam(lr=1e-3), "clip_norm": 100.0}
        result = fit(vae.model, vae.guide, x, validation=x, compile=compile, device="cuda", progress=False, **settings)
        assert next(vae.parameters()).is_cuda
        histories.append([(m["loss"], m["validation_elbo"], m["grad_norm"]) for m in result.history])
    torch.testing.assert_close(*map(torch.tensor, histories), rtol=2e-3, atol=2e-3)
    assert sum(replays) > 20  # of 40 steps: full batches from the third on


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_other_precisions_learn(x, precision):
    vae = small_vae(x)
    settings = {"epochs": 40, "optimizer": adam(lr=0.01), "device": "cuda", "progress": False}
    result = fit(vae.model, vae.guide, x, compile=True, precision=precision, **settings)
    assert result.history[-1]["loss"] < result.history[0]["loss"]


def test_dynamic_binarization_and_schedulers_work(x):
    vae = small_vae(x)
    result = fit(
        vae.model,
        vae.guide,
        0.5 * x + 0.25,
        batch_transform=torch.bernoulli,
        scheduler=lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.99),
        epochs=10,
        batch_size=40,
        compile=True,
        device="cuda",
        progress=False,
    )
    assert result.history[-1]["learning_rate"] == pytest.approx(1e-3 * 0.99**40)
    assert result.history[-1]["loss"] < result.history[0]["loss"]


@pytest.mark.parametrize("compile", [False, True])
def test_a_loss_that_is_not_finite_changes_nothing_and_stops(x, compile):
    vae = small_vae(x)

    def explode(step, metrics):
        if metrics.get("epoch") == 2:
            with torch.no_grad():
                next(vae.decoder.parameters()).fill_(math.inf)

    with pytest.raises(NonFiniteLoss):
        fit(vae.model, vae.guide, x, epochs=5, compile=compile, device="cuda", progress=False, on_step=explode)
    assert all(parameter.isfinite().all() for parameter in vae.encoder.parameters())


@pytest.mark.parametrize("name", PAIRS)
def test_every_pair_trains(name):
    torch.manual_seed(0)
    pair = PAIRS[name]()
    if not is_bound(pair.model, pair.guide):
        pytest.skip("functions keep their parameters where they are")
    settings = {"epochs": 3, "batch_size": 6, "device": "cuda", "compile": False, "progress": False}
    result = fit(pair.model, pair.guide, pair.x, **settings)
    assert all(math.isfinite(metrics["loss"]) for metrics in result.history)


@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize("form", ["memory map", "sparse", "loader", "tuple"])
def test_data_come_to_the_gpu_in_every_form(x, form, compile, tmp_path):
    flat = x.flatten(1)
    forms = {
        "memory map": lambda: on_disk(flat.numpy(), tmp_path),
        "sparse": lambda: scipy.sparse.csr_matrix(flat.numpy()),
        "loader": lambda: DataLoader(TensorDataset(flat), batch_size=32, shuffle=False),
        "tuple": lambda: (flat, torch.arange(len(flat)).float()),
    }

    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(5)
            self.encoder, self.decoder = nn.Linear(16, 2), nn.Linear(2, 16)

        def model(self, x, y=None):
            with pyro.plate("data", len(x), dim=-1):
                z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
                pyro.sample("x", dist.Bernoulli(logits=self.decoder(z)).to_event(1), obs=x)

        def guide(self, x, y=None):
            with pyro.plate("data", len(x), dim=-1):
                pyro.sample("z", dist.Normal(self.encoder(x), 0.9).to_event(1))

    losses = []
    for given, compiled in ((flat, False), (forms[form](), compile)):
        pair, size = Pair(), {} if isinstance(given, DataLoader) else {"batch_size": 32}
        settings = {"epochs": 5, "optimizer": adam(lr=1e-3), "device": "cuda", "progress": False, **size}
        result = fit(pair.model, pair.guide, given, compile=compiled, **settings)
        assert next(pair.parameters()).is_cuda
        losses.append([entry["loss"] for entry in result.history])
    # A loader has an order of its own: other noise for a data point.
    assert losses[1] == pytest.approx(losses[0], rel=0.05 if form == "loader" else 2e-3)
