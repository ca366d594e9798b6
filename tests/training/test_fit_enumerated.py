"""Training of pairs whose discrete sites are marked for enumeration: summed over, and said."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import RenyiELBO, Trace_ELBO, TraceEnum_ELBO, TraceMeanField_ELBO, config_enumerate
from torch import nn

from pyro_vae import (
    MLP,
    VAE,
    Bernoulli,
    CategoricalEncoder,
    CategoricalPrior,
    CompiledELBO,
    Fit,
    KLWarmup,
    adam,
    fit,
    log_marginal,
)
from pyro_vae.objectives.kl_weights import WeightedRate
from pyro_vae.pairs.contexts import evaluating
from pyro_vae.pairs.enumerated import summed_out
from pyro_vae.pairs.scoring import score
from pyro_vae.training.validation import validate


def train(model, guide, x, **options):
    return fit(model, guide, x, **{"epochs": 1, "progress": False, **options})


class Clusters(nn.Module):
    """k ~ Categorical, z ~ N(m_k, 1), x ~ N(z, s^2), the guide draws z alone, or k and then z."""

    def __init__(self):
        super().__init__()
        self.logits, self.means = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.tensor([-1.0, 1.0]))
        self.encoder = nn.Linear(1, 4)

    def model(self, x):
        with pyro.plate("data", len(x), dim=-1):
            k = pyro.sample("k", dist.Categorical(logits=self.logits), infer={"enumerate": "parallel"})
            z = pyro.sample("z", dist.Normal(self.means[k], 1.0))
            pyro.sample("x", dist.Normal(z, 0.6), obs=x)

    def of_z(self, x):
        out = self.encoder(x[:, None])
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(out[:, 0], out[:, 1].tanh().exp()))

    @config_enumerate
    def of_k_and_z(self, x):
        out = self.encoder(x[:, None])
        with pyro.plate("data", len(x), dim=-1):
            k = pyro.sample("k", dist.Categorical(logits=out[:, 2:]))
            pyro.sample("z", dist.Normal(out[:, 0] + self.means[k], out[:, 1].tanh().exp()))

    def log_prob(self, x):
        parts = dist.Normal(self.means, (1 + 0.6**2) ** 0.5)
        return dist.MixtureSameFamily(dist.Categorical(logits=self.logits), parts).log_prob(x).detach()


def test_training_sums_and_says_so(capsys, tmp_path):
    """With nothing but a sum, the share of a component is found as by maximum likelihood."""

    @config_enumerate
    def model(x):
        logits = pyro.param("logits", torch.zeros(2))
        with pyro.plate("data", len(x), dim=-1):
            k = pyro.sample("k", dist.Categorical(logits=logits))
            pyro.sample("x", dist.Normal(torch.tensor([-3.0, 3.0])[k], 1.0), obs=x)

    def guide(x):
        pass

    x = torch.where(torch.rand(400) < 0.8, 3.0, -3.0) + torch.randn(400)
    options = {"epochs": 40, "batch_size": 400, "optimizer": adam(0.1), "validation": x}
    result = train(model, guide, x, progress=True, **options)
    assert "TraceEnum_ELBO sums over k.\n" in capsys.readouterr().err
    assert result.summed_over == ("k",)
    assert repr(result).endswith("; TraceEnum_ELBO sums over k)")
    result.save(tmp_path)
    assert Fit.load(tmp_path, model, guide).summed_over == ("k",)
    share = (x > 0).double().mean()
    assert abs(result.state["param.logits"].softmax(0)[1] - share) < 5 * (share * (1 - share) / 400) ** 0.5
    exact = log_marginal(result.model, result.guide, x, num_samples=2).log_prob.mean()
    assert result.history[result.best_epoch - 1]["validation_elbo"] == pytest.approx(exact.item(), abs=1e-4)
    assert result.history[-1]["validation_rate"] == 0
    given = train(model, guide, x, objective=TraceEnum_ELBO(max_plate_nesting=1), **options)
    assert [entry["loss"] for entry in given.history] == [entry["loss"] for entry in result.history]


@pytest.mark.parametrize("guide", ["of_z", "of_k_and_z"])
def test_every_network_learns(guide):
    pair = Clusters()
    before = {name: p.clone() for name, p in pair.named_parameters()}
    x = torch.cat([torch.randn(40) - 3, torch.randn(40) + 2])
    result = train(pair.model, getattr(pair, guide), x, validation=x, epochs=30, optimizer=adam(0.05), batch_size=40)
    assert all(not torch.equal(p, before[name]) for name, p in pair.named_parameters())
    elbos = [entry["validation_elbo"] for entry in result.history]
    assert elbos[0] < elbos[-1] < pair.log_prob(x).mean() + 0.05


@pytest.mark.parametrize("guide", ["of_z", "of_k_and_z"])
def test_the_validation_bound_is_as_tight_as_the_objective(guide):
    pair = Clusters()
    x = 2 * torch.randn(20_000)
    given = pair.model, getattr(pair, guide)
    loss = TraceEnum_ELBO(max_plate_nesting=1).loss
    losses = torch.tensor([loss(*given, x) / len(x) for _ in range(20)])
    with evaluating(*given):
        summed = summed_out(*given, x)
        elbos = torch.stack([score(*summed, x).log_weight.mean() for _ in range(20)])
    metrics, _ = validate(*summed, x, batch_size=1000, device=x.device)
    assert abs(metrics["validation_elbo"] - elbos.mean()) < 5 * elbos.std() * (1 + 1 / 20) ** 0.5
    gain, error = elbos.mean() + losses.mean(), ((elbos.var() + losses.var()) / 20) ** 0.5
    if guide == "of_z":
        assert abs(gain) < 5 * error
    else:  # k given x and z is as it is in the bound, and as the guide has it in the loss
        assert gain > 5 * error
    assert elbos.mean() < pair.log_prob(x).mean() + 5 * error


@pytest.mark.parametrize("objective", [Trace_ELBO(), TraceMeanField_ELBO, RenyiELBO(num_particles=2)])
def test_objectives_that_do_not_sum(objective):
    pair = Clusters()
    with pytest.raises(ValueError, match=r"^Expected TraceEnum_ELBO for a pair that marks .* \['k'\]; got \w+, which"):
        train(pair.model, pair.of_z, torch.randn(5), objective=objective)


@pytest.mark.parametrize("guide", ["of_z", "of_k_and_z"])
def test_a_kl_weight_warms_up(guide):
    pair, x = Clusters(), torch.randn(20)
    result = train(pair.model, getattr(pair, guide), x, kl_weight=KLWarmup(steps=2), epochs=3)
    assert result.warmed_up
    assert [entry["kl_weight"] for entry in result.history] == [0.0, 0.5, 1.0]


class Shifted(Clusters):
    """The same with data that depend on k beside z, by a factor, too."""

    def model(self, x):
        with pyro.plate("data", len(x), dim=-1):
            k = pyro.sample("k", dist.Categorical(logits=self.logits), infer={"enumerate": "parallel"})
            z = pyro.sample("z", dist.Normal(self.means[k], 1.0))
            pyro.sample("x", dist.Normal(z + k, 0.6), obs=x)
            pyro.factor("f", -0.3 * (x - k).square())

    def terms(self, x, z):
        """log p(x, k, z) without the data, and with them, of each k: (2, B)."""
        k = torch.arange(2.0)[:, None]
        of_latents = self.logits.log_softmax(0)[:, None] + dist.Normal(self.means[:, None], 1.0).log_prob(z)
        return of_latents, of_latents + dist.Normal(z + k, 0.6).log_prob(x) - 0.3 * (x - k).square()


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0, 2.5])
def test_a_weight_on_the_rate_of_what_is_summed_out(weight):
    """Loss and gradient are those of -log p(x|z) + weight (log q(z|x) - log p(z)), each a sum over k, at the draws."""
    pair, x = Shifted(), torch.randn(5)
    pair.means.data += torch.tensor([0.3, 0.8])
    objective = WeightedRate(TraceEnum_ELBO(max_plate_nesting=1), torch.tensor(weight))
    torch.manual_seed(1)
    loss = objective.differentiable_loss(pair.model, pair.of_z, x)
    torch.manual_seed(1)
    site = poutine.trace(pair.of_z).get_trace(x).nodes["z"]
    log_latents, log_joint = (term.logsumexp(0) for term in pair.terms(x, site["value"]))
    rate = site["fn"].log_prob(site["value"]) - log_latents
    truth = (log_latents - log_joint + weight * rate).sum()
    assert loss.item() == pytest.approx(truth.item(), rel=1e-5)
    torch.manual_seed(1)
    assert objective.loss(pair.model, pair.of_z, x) == pytest.approx(truth.item(), rel=1e-5)
    wanted = torch.autograd.grad(truth, list(pair.parameters()))
    loss.backward()
    for parameter, gradient in zip(pair.parameters(), wanted, strict=True):
        assert torch.allclose(parameter.grad, gradient, rtol=1e-4, atol=1e-5)


def test_a_weight_leaves_the_estimate_as_it_is():
    """Of a model without other latents nothing has a rate: the loss is -log p(x) under any weight."""

    def guide(x):
        pass

    class Mixture(Clusters):
        def model(self, x):
            with pyro.plate("data", len(x), dim=-1):
                k = pyro.sample("k", dist.Categorical(logits=self.logits), infer={"enumerate": "parallel"})
                pyro.sample("x", dist.Normal(self.means[k], 1.0), obs=x)

    pair, x = Mixture(), torch.randn(8)
    rate = {"optimizer": lambda parameters: torch.optim.SGD(parameters, lr=1e-9)}
    (plain,), (weighted,) = (train(pair.model, guide, x, kl_weight=w, **rate).history for w in (1.0, 0.2))
    assert weighted["loss"] == pytest.approx(plain["loss"], abs=1e-5)
    exact = -log_marginal(pair.model, guide, x).log_prob.mean().item()
    assert weighted["loss"] == pytest.approx(exact, abs=1e-5)


def test_compiling_is_left_where_it_cannot_be(monkeypatch):
    """Without a word where it is not asked for, with a warning where it is."""
    pair, x = Clusters(), torch.randn(20)
    monkeypatch.setattr("pyro_vae.compiled.when_it_pays.COMPILE_SECONDS", -1.0)
    plain = train(pair.model, pair.of_z, x, epochs=4)
    objective = CompiledELBO(TraceEnum_ELBO(max_plate_nesting=1), backend="eager")
    pair.load_state_dict(Clusters().state_dict())
    with pytest.warns(RuntimeWarning, match="uncompiled"):
        train(pair.model, pair.of_z, x, epochs=4, objective=objective)
    assert "compile_seconds" not in plain.history[-1]


def test_relaxed_in_training_and_summed_in_evaluation():
    prior, encoder = CategoricalPrior(3, temperature=0.5), CategoricalEncoder((4,), 3, temperature=0.5)
    px = Bernoulli((4,))
    pair = VAE(prior, encoder, MLP(3, px.feature_shape), px)
    guide, x = config_enumerate(pair.guide), torch.rand(20, 4).round()
    result = train(pair.model, guide, x, validation=x)
    assert result.summed_over == ()
    pair.eval()
    exact = log_marginal(result.model, result.guide, x)
    assert (exact.standard_error == 0).all()
    assert result.history[0]["validation_elbo"] == pytest.approx(exact.log_prob.mean().item(), abs=1e-4)


def test_particles_of_the_objective():
    pair, x = Clusters(), torch.randn(20)
    objective = TraceEnum_ELBO(num_particles=2, vectorize_particles=True)
    result = train(pair.model, pair.of_k_and_z, x, objective=objective, kl_weight=0.5, compile=False)
    assert result.summed_over == ("k",)


# Batches of a loader of which some have labels


class SomeLabelled(Clusters):
    """The mixture whose component is given, or summed over."""

    def model(self, x, y=None):
        with pyro.plate("data", len(x), dim=-1):
            k = pyro.sample("k", dist.Categorical(logits=self.logits), obs=y, infer={"enumerate": "parallel"})
            pyro.sample("x", dist.Normal(self.means[k], 1.0), obs=x)

    def guide(self, x, y=None):
        pass


class Batches:
    def __init__(self, *batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


def labelled_and_not(first):
    x, y = torch.randn(8), torch.arange(8) % 2
    batches = [(x[:4], y[:4]), (x[4:], None)]
    return x, y, Batches(*(batches if first == "labelled" else batches[::-1]))


@pytest.mark.parametrize("first", ["labelled", "not"])
def test_labels_that_some_batches_have(first):
    """The loss is -log p(x, y) where there are labels, and -log p(x) where there are none."""
    x, y, batches = labelled_and_not(first)
    pair, objective = SomeLabelled(), TraceEnum_ELBO(max_plate_nesting=1) if first == "labelled" else None
    pair.logits.data = torch.tensor([0.5, -0.5])
    rate = {"optimizer": lambda parameters: torch.optim.SGD(parameters, lr=1e-9)}
    history = train(pair.model, pair.guide, batches, objective=objective, epochs=2, **rate).history
    joint = pair.logits.log_softmax(0) + dist.Normal(pair.means, 1.0).log_prob(x[:, None])
    truth = torch.cat([joint[:4].gather(1, y[:4, None])[:, 0], joint[4:].logsumexp(1)])
    assert [metrics["loss"] for metrics in history] == pytest.approx(2 * [-truth.mean().item()], abs=1e-5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, r"the marked sites \['k'\] in a later batch and Trace_ELBO. Give objective=TraceEnum_ELBO"),
        ({"objective": TraceEnum_ELBO(max_plate_nesting=1), "kl_weight": 0.5}, r"for a KL weight; got \['k'\] in a"),
    ],
)
def test_sums_that_the_first_batch_does_not_show(options, said):
    pair, (_, _, batches) = SomeLabelled(), labelled_and_not("labelled")
    with pytest.raises(ValueError, match=said):
        train(pair.model, pair.guide, batches, **options)
