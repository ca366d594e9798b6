"""A compiled step equals the plain one: losses, gradients, buffers, random numbers, and what SVI trains."""

import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from examples import PAIRS as EXAMPLES
from pyro import poutine
from pyro.infer import SVI, RenyiELBO, Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule, PyroParam, PyroSample
from torch import nn
from torch.distributions import constraints

from pyro_vae.compiled.elbo import CompiledELBO
from pyro_vae.objectives.kl_weights import scale_latents
from pyro_vae.pairs.modules import announcing
from pyro_vae.training.optimizer import OneOptimizer, adam

B, D, Z = 6, 8, 4


@pytest.fixture(autouse=True)
def _scope():
    with pyro.get_param_store().scope():
        yield


def images(seed=0, count=B):
    return torch.rand(count, D, generator=torch.Generator().manual_seed(seed)).round()


# -------------------------------------------------------------------------------------- pairs to compile


class Pair(nn.Module):
    """A small VAE whose prior, flow of the guide and extra layers are given."""

    def __init__(self, prior=None, flow=None, extra=None):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(D, 7), *([extra] if extra else []), nn.Softplus(), nn.Linear(7, 2 * Z))
        self.decoder = nn.Sequential(nn.Linear(Z, 7), nn.Softplus(), nn.Linear(7, D))
        self.prior = prior or Standard()
        self.flow = flow

    def q(self, x):
        loc, log_scale = self.encoder(x).chunk(2, -1)
        return dist.Normal(loc, log_scale.exp()).to_event(1)

    def model(self, x):
        pyro.module("pair", self)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior(self))
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z)).to_event(1), obs=x)

    def guide(self, x):
        pyro.module("pair", self)
        with pyro.plate("data", len(x)):
            q = self.q(x)
            pyro.sample("z", q if self.flow is None else dist.TransformedDistribution(q, [self.flow]))


class Standard(nn.Module):
    def __init__(self):
        super().__init__()
        # A distribution made ahead of time carries its own validation flag, which reads values.
        self.made_before = dist.Normal(torch.zeros(()), 1.0).expand([Z]).to_event(1)

    def forward(self, pair):
        return self.made_before


class Mixture(nn.Module):
    def __init__(self):
        super().__init__()
        self.logits, self.loc = nn.Parameter(torch.randn(3)), nn.Parameter(torch.randn(3, Z))
        self.log_scale = nn.Parameter(0.1 * torch.randn(3, Z))

    def forward(self, pair):
        parts = dist.Normal(self.loc, self.log_scale.exp()).to_event(1)
        return dist.MixtureSameFamily(dist.Categorical(logits=self.logits), parts)


class Vamp(nn.Module):
    def __init__(self):
        super().__init__()
        self.pseudo, self.logits = nn.Parameter(torch.rand(5, D)), nn.Parameter(torch.zeros(5))

    def forward(self, pair):
        return dist.MixtureSameFamily(dist.Categorical(logits=self.logits), pair.q(self.pseudo))


class Flow(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.steps = nn.ModuleList([make(), make()])
        self.register_buffer("loc", torch.zeros(Z))

    def forward(self, pair):
        return dist.TransformedDistribution(dist.Normal(self.loc, 1.0).to_event(1), list(self.steps))


class Bayesian(PyroModule):
    """A PyroModule with random weights and constrained parameters; a latent outside the plate."""

    def __init__(self):
        super().__init__()
        self.linear = PyroModule[nn.Linear](D - 1, 1)
        self.linear.weight = PyroSample(dist.Normal(0.0, 1.0).expand([1, D - 1]).to_event(2))
        self.sigma = PyroParam(torch.tensor(0.7), constraint=constraints.positive)

    def forward(self, x):
        mean = self.linear(x[:, :-1]).squeeze(-1)
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Normal(mean, self.sigma), obs=x[:, -1])


def bayesian_regression():
    model = Bayesian()
    return model, AutoNormal(model)


def plain_functions():
    decoder = nn.Linear(Z, D)

    def model(x):
        pyro.module("decoder", decoder)
        scale = pyro.param("scale", lambda: torch.ones(Z), constraint=constraints.positive)
        weights = pyro.param("weights", lambda: torch.ones(2) / 2, constraint=constraints.simplex)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, scale).to_event(1))
            logits = decoder(z) + weights[0]
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)

    def guide(x):
        loc = pyro.param("loc", lambda: torch.randn(D, Z))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x @ loc, 0.5).to_event(1))

    return model, guide


def not_reparameterized():
    """Score-function gradients, a discrete latent, subsampling."""

    def model(x):
        rate = pyro.param("rate", torch.tensor(0.4), constraint=constraints.unit_interval)
        with pyro.plate("data", len(x), subsample_size=4) as chosen:
            k = pyro.sample("k", dist.Bernoulli(rate))
            pyro.sample("x", dist.Normal(k, 1.0), obs=x[chosen].sum(-1))

    def guide(x):
        slope = pyro.param("slope", torch.tensor(0.3))
        with pyro.plate("data", len(x), subsample_size=4) as chosen:
            pyro.sample("k", dist.Bernoulli(logits=slope * x[chosen].sum(-1)))

    return model, guide


class Hierarchy(nn.Module):
    """Two latent levels, and a guide that samples them in the other order."""

    def __init__(self):
        super().__init__()
        self.p, self.q1, self.q2 = nn.Linear(Z, Z), nn.Linear(D, Z), nn.Linear(Z, Z)
        self.out = nn.Linear(Z, D)

    def model(self, x):
        pyro.module("hierarchy", self)
        with pyro.plate("data", len(x)):
            z2 = pyro.sample("z2", dist.Normal(torch.zeros(Z), 1.0).to_event(1))
            z1 = pyro.sample("z1", dist.Normal(self.p(z2), 0.8).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.out(z1)).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            z1 = pyro.sample("z1", dist.Normal(self.q1(x), 0.5).to_event(1))
            pyro.sample("z2", dist.Normal(self.q2(z1), 0.6).to_event(1))


def methods(make):
    def pair():
        module = make()
        return module.model, module.guide

    return pair


def shared_weights():
    module = Pair()
    module.decoder[0].weight = nn.Parameter(torch.randn(7, Z))
    return module.model, module.guide


PAIRS = {
    "standard": methods(Pair),
    "mixture": methods(lambda: Pair(Mixture())),
    "vamp": methods(lambda: Pair(Vamp())),
    "iaf guide": methods(lambda: Pair(flow=dist.transforms.affine_autoregressive(Z, hidden_dims=[9]))),
    "coupling prior": methods(lambda: Pair(Flow(lambda: dist.transforms.affine_coupling(Z, [9])))),
    "planar guide": methods(lambda: Pair(flow=dist.transforms.planar(Z))),
    "dropout": methods(lambda: Pair(extra=nn.Dropout(0.4))),
    "batch norm": methods(lambda: Pair(extra=nn.BatchNorm1d(7))),
    "layer norm": methods(lambda: Pair(extra=nn.LayerNorm(7))),
    "weight norm": methods(lambda: Pair(extra=nn.utils.parametrizations.weight_norm(nn.Linear(7, 7)))),
    "hierarchy": methods(Hierarchy),
    "bayesian regression": bayesian_regression,
    "plain functions": plain_functions,
    "not reparameterized": not_reparameterized,
}
OBJECTIVES = {
    "trace": Trace_ELBO,
    "particles": lambda: Trace_ELBO(num_particles=3),
    "vectorized": lambda: Trace_ELBO(num_particles=3, vectorize_particles=True, max_plate_nesting=1),
    "graph": TraceGraph_ELBO,
    "mean field": TraceMeanField_ELBO,
    "iwae": lambda: RenyiELBO(alpha=0.0, num_particles=3),
    "renyi": lambda: RenyiELBO(alpha=0.5, num_particles=2, vectorize_particles=True, max_plate_nesting=1),
}


def run(make_pair, elbo, batches, *, train=True):
    """Losses, gradients and parameters of a few steps of gradient descent; buffers and random state after it."""
    torch.manual_seed(0)
    with pyro.get_param_store().scope():
        model, guide = make_pair()
        record = []
        for step, x in enumerate(batches):
            torch.manual_seed(step)
            with poutine.trace(param_only=True) as sites:
                loss = elbo.loss_and_grads(model, guide, x)
            params = {name: sites.trace.nodes[name]["value"].unconstrained() for name in sites.trace.param_nodes}
            gradients = {name: p.grad.clone() for name, p in params.items() if p.grad is not None}
            assert gradients
            record.append((float(loss), gradients))
            for p in params.values():
                if p.grad is not None:
                    p.data -= 1e-3 * p.grad
                    p.grad = None
        owner = getattr(model, "__self__", model)
        buffers = dict(owner.named_buffers()) if isinstance(owner, nn.Module) else {}
        final = {name: value.detach().clone() for name, value in pyro.get_param_store().items()}
        return record, final, buffers, torch.get_rng_state()


def assert_same(found, expected, *, rtol=1e-5, atol=1e-5):
    for (loss, gradients), (loss_, gradients_) in zip(found[0], expected[0], strict=True):
        assert loss == pytest.approx(loss_, rel=1e-5)
        assert list(gradients) == list(gradients_)
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, gradients_[name], rtol=rtol, atol=atol)
            assert gradient.stride() == gradients_[name].stride()
    for mine, theirs in zip(found[1:3], expected[1:3], strict=True):
        assert list(mine) == list(theirs)
        for name, value in mine.items():
            torch.testing.assert_close(value, theirs[name], rtol=rtol, atol=atol)
    assert torch.equal(found[3], expected[3])


CASES = [
    *((pair, "trace") for pair in PAIRS),
    *(("standard", objective) for objective in OBJECTIVES if objective != "trace"),
    *((pair, objective) for pair in ("vamp", "plain functions") for objective in ("mean field", "iwae")),
    ("batch norm", "particles"),
    ("hierarchy", "vectorized"),
    ("bayesian regression", "mean field"),
    ("not reparameterized", "graph"),
]


@pytest.mark.parametrize(("pair", "objective"), CASES)
def test_losses_gradients_buffers_and_draws_equal_the_plain_ones(pair, objective):
    make = OBJECTIVES[objective]
    batches = [images(seed) for seed in (0, 1, 0)]
    elbo = CompiledELBO(make(), backend="eager")
    assert_same(run(PAIRS[pair], elbo, batches), run(PAIRS[pair], make(), batches))
    assert elbo.num_graphs == 1
    assert repr(elbo) == f"CompiledELBO({type(make()).__name__}, backend='eager', precision='fp32'; 1 graphs so far)"


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_pair_of_the_library_gives_the_same(name):
    def make():
        example = EXAMPLES[name]()
        make.batches = [example.x[8 * i : 8 * (i + 1)] for i in (0, 1, 0)]
        return announcing(example.model, example.guide)

    torch.manual_seed(0)
    make()
    elbo = CompiledELBO(Trace_ELBO(), backend="eager")
    assert_same(run(make, elbo, make.batches), run(make, Trace_ELBO(), make.batches))
    assert elbo.num_graphs == 1


class Everything(nn.Module):
    """Convolutions, batch norm, dropout and a mixture prior, for the compiler."""

    def __init__(self, norm=nn.BatchNorm2d):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, padding=1)
        self.norm, self.dropout = norm(3), nn.Dropout(0.3)
        self.out, self.decoder = nn.Linear(3 * D, 2 * Z), nn.Linear(Z, D)
        self.prior = Mixture()

    def model(self, x):
        pyro.module("everything", self)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior(self))
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z)).to_event(1), obs=x)

    def guide(self, x):
        h = self.dropout(self.norm(self.conv(x.view(-1, 1, 2, D // 2))).relu())
        loc, log_scale = self.out(h.flatten(1)).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


def test_the_compiled_graph_gives_the_same_too():
    def make():
        pair = Everything()
        if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 13):  # dropout and z are drawn in another order
            pair.dropout = nn.Identity()
        return pair

    batches = [images(seed) for seed in range(4)]
    elbo = CompiledELBO(Trace_ELBO())
    found, expected = (run(methods(make), e, batches) for e in (elbo, Trace_ELBO()))
    assert_same(found, expected, rtol=1e-4, atol=1e-4)
    assert found[2]["norm.num_batches_tracked"] == 4


@pytest.mark.parametrize("backend", ["eager", "inductor"])
def test_bf16_products_are_close_and_all_else_stays_float32(backend):
    batches = [images(seed) for seed in range(4)]
    # Batch norm makes gradients out of small differences: it is left out.
    make = methods((lambda: Everything(norm=nn.Identity)) if backend == "eager" else Pair)
    found, expected = (
        run(make, elbo, batches)
        for elbo in (CompiledELBO(Trace_ELBO(), backend=backend, precision="bf16"), Trace_ELBO())
    )
    assert found[0][1][0] == pytest.approx(expected[0][1][0], rel=1e-6)  # the step recorded is in float32
    for (loss, gradients), (loss_, gradients_) in zip(found[0][2:], expected[0][2:], strict=True):
        assert loss == pytest.approx(loss_, rel=2e-2)
        assert loss != loss_
        for name, gradient in gradients.items():
            assert gradient.dtype == torch.float32
            assert (gradient - gradients_[name]).norm() < 0.03 * gradients_[name].norm()


def losses(elbo, model, guide, batches, lr=1e-2):
    """Training by SVI and OneOptimizer."""
    torch.manual_seed(1)
    svi = SVI(model, guide, OneOptimizer(adam(lr)), elbo)
    return [svi.step(x) for x in batches]


@pytest.mark.parametrize("optimizer", [lambda: OneOptimizer(adam(0.01)), lambda: pyro.optim.Adam({"lr": 0.01})])
def test_svi_trains_to_the_same_parameters(optimizer):
    batches = [images(seed) for seed in range(20)]
    finals = []
    for elbo in (Trace_ELBO(), CompiledELBO(Trace_ELBO(), backend="eager")):
        torch.manual_seed(0)
        with pyro.get_param_store().scope():
            pair = Pair(Vamp())
            svi = SVI(pair.model, pair.guide, optimizer(), elbo)
            found = [svi.step(x) for x in batches]
            assert all(isinstance(loss, float) for loss in found)
            finals.append((found, {name: p.detach().clone() for name, p in pair.named_parameters()}))
    (plain, expected), (compiled, params) = finals
    assert compiled == pytest.approx(plain, rel=1e-4)
    for name, p in params.items():
        torch.testing.assert_close(p, expected[name], rtol=1e-4, atol=1e-4)


def test_each_shape_is_recorded_once():
    pair, elbo = Pair(), CompiledELBO(Trace_ELBO(), backend="eager")
    epoch = [images(0), images(1), images(2, count=5)]
    losses(elbo, pair.model, pair.guide, 5 * epoch)
    assert elbo.num_graphs == 2
    assert all(float(elbo.loss(pair.model, pair.guide, x)) > 0 for x in 4 * epoch[1:])
    assert elbo.num_graphs == 4  # the loss alone


def test_training_mode_has_a_graph_of_its_own():
    pair, x = Pair(extra=nn.Dropout(0.9)), images()
    model, guide = (
        poutine.scale(pair.model, 2.0),
        poutine.scale(pair.guide, 2.0),
    )  # and is found behind handlers
    elbo = CompiledELBO(Trace_ELBO(), backend="eager")
    for training in 3 * [True, False]:
        pair.train(training)
        for seed in range(3):
            torch.manual_seed(seed)
            loss = elbo.loss(model, guide, x)
            torch.manual_seed(seed)
            assert float(loss) == pytest.approx(Trace_ELBO().loss(model, guide, x), rel=1e-5)
    assert elbo.num_graphs == 2


def test_evaluation_leaves_gradients_alone_and_differentiable_loss_gives_them():
    pair, x = Pair(), images()
    elbo = CompiledELBO(Trace_ELBO(), backend="eager")
    for seed in range(3):
        torch.manual_seed(seed)
        expected = Trace_ELBO().differentiable_loss(pair.model, pair.guide, x)
        gradients = torch.autograd.grad(3 * expected, list(pair.parameters()))
        torch.manual_seed(seed)
        loss = elbo.differentiable_loss(pair.model, pair.guide, x)
        assert all(p.grad is None for p in pair.parameters())
        torch.testing.assert_close(loss, expected)
        for mine, theirs in zip(torch.autograd.grad(3 * loss, list(pair.parameters())), gradients, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
        torch.manual_seed(seed)
        assert float(elbo.loss(pair.model, pair.guide, x)) == pytest.approx(expected.item(), rel=1e-5)
    assert all(p.grad is None for p in pair.parameters())
    assert elbo.num_graphs == 2


def test_gradients_accumulate_as_in_the_plain_path():
    pair, x = Pair(), images()
    elbo = CompiledELBO(Trace_ELBO(), backend="eager")
    sums = []
    for objective in (elbo, elbo, Trace_ELBO()):
        torch.manual_seed(0)
        pair.zero_grad()
        for _ in range(3):
            objective.loss_and_grads(pair.model, pair.guide, x)
        sums.append([p.grad.clone() for p in pair.parameters()])
    for mine, theirs in zip(sums[1], sums[2], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


def test_tensors_held_anywhere_are_read_anew():
    """A KL weight changed in place, a frozen parameter, and an argument that the model holds as well."""
    x = images()
    pair, weight = Pair(), torch.tensor(0.1)
    pair.offset, pair.held = torch.zeros(D), x
    pair.decoder[0].weight.requires_grad_(False)
    pair.eval()  # else pyro.module warns of the frozen parameter

    def model(x):
        pair.model(x + pair.offset - pair.held.mean(0))

    model, guide = scale_latents(model, weight), scale_latents(pair.guide, weight)
    elbo = CompiledELBO(Trace_ELBO(), backend="eager")
    for step in range(6):
        weight.fill_(0.1 * step)
        pair.offset.fill_(0.01 * step)
        pair.decoder[0].weight.data *= 1.1
        torch.manual_seed(step)
        with pyro.settings.context(validate_distributions_torch=False):
            loss = elbo.loss_and_grads(model, guide, images(step))
            torch.manual_seed(step)
            assert float(loss) == pytest.approx(Trace_ELBO().loss(model, guide, images(step)), rel=1e-5)
    assert elbo.num_graphs == 1
    assert pair.decoder[0].weight.grad is None


def test_freezing_or_casting_a_parameter_records_again():
    pair, x = Pair(), images()
    elbo = CompiledELBO(Trace_ELBO(), backend="eager")

    def step(x):
        pair.zero_grad()
        elbo.loss_and_grads(pair.model, pair.guide, x)

    for _ in range(3):
        step(x)
    pair.eval().encoder[0].weight.requires_grad_(False)
    for _ in range(3):
        step(x)
        assert pair.encoder[0].weight.grad is None
    assert elbo.num_graphs == 2
    pair.zero_grad()
    pair.double()
    for _ in range(3):
        step(x.double())
    assert pair.decoder[0].weight.grad.dtype == torch.float64
    assert elbo.num_graphs == 3


def test_each_param_store_scope_has_its_own_parameters():
    model, guide = plain_functions()
    elbo = CompiledELBO(Trace_ELBO(), backend="eager")
    ends = []
    for _ in range(2):
        with pyro.get_param_store().scope():
            losses(elbo, model, guide, [images(seed) for seed in range(5)])
            ends.append(pyro.param("scale").detach().clone())
            assert set(pyro.get_param_store()) == {
                "scale",
                "weights",
                "loc",
                "decoder$$$weight",
                "decoder$$$bias",
            }
            assert (ends[-1] != 1).all()
    assert elbo.num_graphs == 1
    assert len(pyro.get_param_store()) == 0


def test_a_parameter_made_after_the_first_call_is_trained():
    def model(x):
        shift = pyro.param("shift", torch.tensor(0.5)) if "loc" in pyro.get_param_store() else 0.0
        pyro.sample("x", dist.Normal(pyro.param("loc", torch.zeros(B, D)) + shift, 1.0).to_event(2), obs=x)

    elbo = CompiledELBO(Trace_ELBO(), backend="eager")
    losses(elbo, model, lambda x: None, [images(seed) for seed in range(6)])
    assert pyro.param("shift") != 0.5
    assert elbo.num_graphs == 1


def test_keyword_and_nested_arguments():
    def model(batch, *, power, flag):
        loc = pyro.param("loc", torch.tensor(0.5))
        pyro.sample("x", dist.Normal(loc**power, 1.0).expand([B, D]).to_event(2), obs=batch["x"] + batch["more"][0])

    def guide(batch, *, power, flag):
        pass

    elbo = CompiledELBO(Trace_ELBO(), backend="eager")
    for step, power in enumerate([1, 1, 1, 2, 2, 2, 1]):
        batch = {"x": images(step), "more": [torch.tensor(float(step))]}
        loss = elbo.loss_and_grads(model, guide, batch, power=power, flag="text")
        assert float(loss) == pytest.approx(Trace_ELBO().loss(model, guide, batch, power=power, flag="text"))
    assert elbo.num_graphs == 2


# -------------------------------------------------------------------------------------- what stays plain


def test_a_pair_decided_by_values_runs_plainly_with_one_warning():
    make = methods(lambda: Pair(Flow(lambda: dist.transforms.spline_coupling(Z, hidden_dims=[5], count_bins=3))))
    batches = [images(seed) for seed in range(4)]
    expected = run(make, Trace_ELBO(), batches)
    elbo = CompiledELBO(Trace_ELBO(), backend="eager")
    with pytest.warns(RuntimeWarning, match=r"leaves Pair.model and Pair.guide uncompiled: .*shape") as caught:
        found = run(make, elbo, batches)
    assert len(caught) == 1
    assert_same(found, expected)
    assert elbo.num_graphs == 0


READS = {
    "if": lambda x: 1.0 if x.sum() > 3 else 2.0,
    "float": lambda x: float(x[0, 0]),
    "bool of an argument": lambda x: 1.0 if x[:1, :1].squeeze() else 2.0,
    "item in python": lambda x: max(x.sum().item(), 3.0),
    "numpy": lambda x: float(x.numpy().sum()),
    "tolist": lambda x: sum(x.sum(0).tolist()),
    "shape": lambda x: x[x > 0].shape[0] / 10,
    "nonzero": lambda x: len(x.nonzero()) / 10,
    "index": lambda x: range(100)[int(x.sum())] / 10,
}


@pytest.mark.parametrize("read", READS)
def test_values_read_in_python_are_never_frozen(read):
    def pair():
        def model(x):
            loc = pyro.param("loc", torch.tensor(0.5)) * READS[read](x)
            pyro.sample("x", dist.Normal(loc, 1.0).expand([B, D]).to_event(2), obs=x)

        return model, lambda x: None

    batches = [images(seed) for seed in range(4)]
    expected = run(pair, Trace_ELBO(), batches)
    elbo = CompiledELBO(Trace_ELBO(), backend="eager")
    with pytest.warns(RuntimeWarning, match="uncompiled") as caught:
        found = run(pair, elbo, batches)
    assert len(caught) == 1
    assert_same(found, expected)


def test_failing_to_record_leaves_buffers_and_random_numbers_as_in_the_plain_path():
    class Late(Pair):
        def model(self, x):
            super().model(x)
            if x.sum() > 1e9:
                raise AssertionError

    make = methods(lambda: Late(extra=nn.BatchNorm1d(7)))
    batches = [images(seed) for seed in range(4)]
    with pytest.warns(RuntimeWarning, match="uncompiled"):
        found = run(make, CompiledELBO(Trace_ELBO(), backend="eager"), batches)
    assert_same(found, run(make, Trace_ELBO(), batches))


def test_numbers_that_always_change_stop_the_recording(monkeypatch):
    monkeypatch.setattr("pyro_vae.compiled.recorded.MAX_KINDS", 5)

    def model(x, step):
        pyro.sample(
            "x",
            dist.Normal(pyro.param("loc", torch.tensor(0.5)) * step, 1.0).expand([B, D]).to_event(2),
            obs=x,
        )

    def guide(x, step):
        pass

    elbo = CompiledELBO(Trace_ELBO(), backend="eager")
    calls = (elbo.loss_and_grads(model, guide, images(), step) for step in range(10))
    with pytest.warns(RuntimeWarning, match=r"met 5 kinds of arguments; pass numbers that change as tens") as caught:
        assert all(loss > 0 for loss in calls)
    assert len(caught) == 1


def test_calls_under_an_effect_handler_run_plainly():
    pair, x = Pair(), images()
    elbo = CompiledELBO(Trace_ELBO(), backend="eager")
    for _ in range(3):
        losses(elbo, pair.model, pair.guide, [x])
    for scale in (2.0, 3.0, 4.0):
        torch.manual_seed(0)
        with poutine.scale(scale=scale):
            found = elbo.loss_and_grads(pair.model, pair.guide, x)
        torch.manual_seed(0)
        assert float(found) == pytest.approx(scale * Trace_ELBO().loss(pair.model, pair.guide, x), rel=1e-5)
    assert elbo.num_graphs == 1


@torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",), "force_disable_caches": True})
def test_without_a_compiler_graphs_run_operation_by_operation():
    batches = [images(seed) for seed in range(4)] + 3 * [images(5, count=4)]
    elbo = CompiledELBO(Trace_ELBO())
    with pytest.warns(RuntimeWarning, match=r"operation by operation: torch.compile failed .* such as g\+\+") as caught:
        found = run(PAIRS["batch norm"], elbo, batches)
    assert len(caught) == 1
    assert_same(found, run(PAIRS["batch norm"], Trace_ELBO(), batches))
    assert elbo.num_graphs == 2


def test_the_users_settings_are_as_before():
    def settings():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            inductor = torch._inductor.config.fallback_random
        return (
            pyro.settings.get(),
            torch.distributions.Distribution._validate_sample,
            pyro.util.torch_isnan,
            inductor,
        )

    before, pair = settings(), Pair()
    spline = Pair(Flow(lambda: dist.transforms.spline_coupling(Z, hidden_dims=[5], count_bins=3)))
    with pyro.settings.context(validate_distributions_torch=False):
        inside = settings()
        losses(CompiledELBO(Trace_ELBO(), backend="eager"), pair.model, pair.guide, 4 * [images()])
        assert settings() == inside
        with pytest.warns(RuntimeWarning, match="uncompiled"):
            losses(CompiledELBO(Trace_ELBO()), spline.model, spline.guide, 4 * [images()])
        assert settings() == inside
    assert settings() == before


def test_the_first_call_validates():
    pair = Pair()
    with pytest.raises(ValueError, match="support"):
        CompiledELBO(Trace_ELBO(), backend="eager").loss_and_grads(pair.model, pair.guide, images() + 0.5)


def test_an_objective_of_ones_own():
    class Doubled(Trace_ELBO):
        """An objective that changes the gradients, as ours do, and reads the loss by .item()."""

        def loss_and_grads(self, model, guide, *args, **kwargs):
            model_trace, guide_trace = self._get_trace(model, guide, args, kwargs)
            loss = guide_trace.log_prob_sum() - model_trace.log_prob_sum()
            (2 * loss).backward()
            return loss.item() / len(args[0])

    batches = [images(seed) for seed in range(4)]
    elbo = CompiledELBO(Doubled(), backend="eager")
    assert_same(run(PAIRS["vamp"], elbo, batches), run(PAIRS["vamp"], Doubled(), batches))
    assert elbo.num_graphs == 1


def test_an_objective_with_several_losses():
    class Two(Trace_ELBO):
        def loss_and_grads(self, *args, **kwargs):
            loss = super().loss_and_grads(*args, **kwargs)
            return loss, 2 * loss

    pair, elbo = Pair(), CompiledELBO(Two(), backend="eager")
    found = [elbo.loss_and_grads(pair.model, pair.guide, images()) for _ in range(3)]
    assert all(float(second) == pytest.approx(2 * float(first)) for first, second in found)
    assert elbo.num_graphs == 1


def test_errors_say_what_was_expected():
    with pytest.raises(TypeError, match=r"Expected a pyro.infer.ELBO, such as Trace_ELBO\(\); got <class"):
        CompiledELBO(Trace_ELBO)
    with pytest.raises(ValueError, match=r"Expected backend 'inductor' or 'eager'; got 'jit'\."):
        CompiledELBO(Trace_ELBO(), backend="jit")
    with pytest.raises(ValueError, match=r"Expected precision 'fp32' or 'bf16'; got 'fp16'\."):
        CompiledELBO(Trace_ELBO(), precision="fp16")
