"""A KL weight turns the loss into distortion + weight * rate, under both of Pyro's ELBOs, whatever the model."""

import functools
import warnings

import pytest
import torch
from examples import OBJECTIVES, vae
from goodness_of_fit import assert_within_standard_errors
from pyro import poutine
from pyro.contrib.gp.kernels import RBF
from pyro.infer import (
    JitTrace_ELBO,
    JitTraceGraph_ELBO,
    JitTraceMeanField_ELBO,
    RenyiELBO,
    ReweightedWakeSleep,
    Trace_ELBO,
    Trace_MMD,
    TraceMeanField_ELBO,
    TraceTailAdaptive_ELBO,
    TraceTMC_ELBO,
)

from pyro_vae import CompiledELBO, Gaussian
from pyro_vae.objectives.accepted import as_objective, check_kl_weight, has_kl_term
from pyro_vae.objectives.kl_weights import KLWarmup, ScaleLatents, scale_latents
from pyro_vae.pairs.scoring import score


@pytest.fixture
def linear():
    """A VAE with a linear decoder and fixed noise, whose rate and distortion are known."""
    pair = vae("StandardNormal", likelihood=functools.partial(Gaussian, scale=0.5))
    module = pair.model.__self__
    module.decoder = torch.nn.Sequential(torch.nn.Linear(2, 12), torch.nn.Unflatten(-1, (3, 4)))
    return module, pair.x


def closed_forms(module, x):
    """Rate and distortion of all images together: KL(q || p), and -E_q[log p(x|z)] by the moments of q."""
    with torch.no_grad():
        q, (linear, _) = module.encoder(x).base_dist, module.decoder
        rate = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum()
        residual = (x.flatten(1) - linear(q.loc)).square().sum()
        spread = (q.variance @ linear.weight.square().T).sum()
        constant = x.numel() * (torch.tensor(0.5).log() + 0.5 * torch.log(2 * torch.tensor(torch.pi)))
        return rate.item(), (0.5 * (residual + spread) / 0.25 + constant).item()


@pytest.mark.parametrize("weight", [0.0, 0.1, 1.0, 4.0])
@pytest.mark.parametrize("as_tensor", [False, True])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_loss_is_distortion_and_weighted_rate_or_refused(linear, weight, as_tensor, objective):
    (module, x), make = linear, OBJECTIVES[objective]
    if not has_kl_term(make()):
        with pytest.raises(ValueError, match="has no KL term"):
            check_kl_weight(make(), KLWarmup(weight=0.5))
        return
    check_kl_weight(make(), KLWarmup(weight=weight))
    rate, distortion = closed_forms(module, x)
    given = torch.tensor(weight) if as_tensor else weight
    model, guide = scale_latents(module.model, given), scale_latents(module.guide, given)
    copies = x.repeat(30, 1, 1)  # a loss of 30 draws at once
    losses = torch.tensor([make().loss(model, guide, copies) / 30 for _ in range(30)])
    assert_within_standard_errors(losses, distortion + weight * rate)


@pytest.mark.parametrize("make", [Trace_ELBO, TraceMeanField_ELBO])
def test_the_weight_reaches_the_gradient(linear, make):
    module, x = linear
    start = [p.detach().clone() for p in module.encoder.parameters()]

    def gradient(weight):
        module.zero_grad()
        torch.manual_seed(0)
        handled = [scale_latents(function, weight) for function in (module.model, module.guide)]
        make().differentiable_loss(*handled, x).backward()
        return torch.cat([p.grad.flatten() for p in module.encoder.parameters()])

    none, half, one = (gradient(weight) for weight in (0.0, 0.5, 1.0))
    assert not torch.allclose(none, one)
    torch.testing.assert_close(half, 0.5 * (none + one), rtol=1e-3, atol=1e-3)  # linear in the weight
    assert all(torch.equal(p, s) for p, s in zip(module.encoder.parameters(), start, strict=True))


def test_a_weight_changed_in_place_takes_effect(linear):
    module, x = linear
    weight = torch.ones(())
    model, guide = scale_latents(module.model, weight), scale_latents(module.guide, weight)
    elbo = Trace_ELBO()

    def loss():
        torch.manual_seed(0)
        return elbo.loss(model, guide, x)

    full = loss()
    weight.fill_(0.0)
    scores = score(module.model, module.guide, x)
    torch.manual_seed(0)
    scores = score(module.model, module.guide, x)
    assert loss() == pytest.approx(scores.distortion.sum().item(), rel=1e-5)
    assert full == pytest.approx((scores.distortion + scores.rate).sum().item(), rel=1e-5)


def test_only_latent_sites_are_scaled_and_on_top_of_other_scales():
    pair = vae("StandardNormal")
    with ScaleLatents(0.25), poutine.scale(scale=2.0):
        nodes = poutine.trace(pair.model).get_trace(pair.x).nodes
    assert nodes["z"]["scale"] == 0.5
    assert nodes["x"]["scale"] == 2.0
    assert nodes["data"]["scale"] == 2.0


# Schedules


@pytest.mark.parametrize("warmup", [KLWarmup(epochs=2), KLWarmup(steps=20), KLWarmup(epochs=1.5, weight=4.0)])
def test_a_warm_up_is_linear_and_then_constant(warmup):
    schedule = warmup.schedule(steps_per_epoch=10, total_steps=100)
    length = warmup.length(10)
    assert length == (warmup.steps or warmup.epochs * 10)
    weights = [schedule(step) for step in range(100)]
    assert weights[0] == 0
    assert weights[length:] == [warmup.weight] * (100 - length)
    assert weights[:length] == pytest.approx([warmup.weight * step / length for step in range(length)])


def test_without_a_warm_up_the_weight_is_constant():
    assert KLWarmup(weight=0.3).schedule(steps_per_epoch=10, total_steps=10)(0) == 0.3
    assert KLWarmup(weight=0.0).schedule(steps_per_epoch=10, total_steps=10)(9) == 0.0


def test_a_run_shorter_than_its_warm_up_is_warned_of():
    with pytest.warns(
        UserWarning, match=r"takes 1,000 steps but the run ends after 999: the KL weight never reaches 2\."
    ):
        KLWarmup(epochs=100, weight=2.0).schedule(steps_per_epoch=10, total_steps=999)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        KLWarmup(epochs=100).schedule(steps_per_epoch=10, total_steps=1000)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            {"epochs": 1, "steps": 1},
            r"Expected a warm-up in epochs or in steps, of at least 0; got epochs=1, steps=1\.",
        ),
        ({"epochs": -1}, "got epochs=-1, steps=0"),
        ({"steps": -2}, "got epochs=0, steps=-2"),
        ({"weight": -0.5}, r"Expected a finite KL weight >= 0; got -0\.5\."),
        ({"weight": float("nan")}, "Expected a finite KL weight >= 0; got nan"),
        ({"weight": float("inf")}, "Expected a finite KL weight >= 0; got inf"),
    ],
)
def test_errors_say_what_was_expected(arguments, text):
    with pytest.raises(ValueError, match=text):
        KLWarmup(**arguments)


@pytest.mark.parametrize("objective", [RenyiELBO(), TraceTMC_ELBO(), Trace_MMD(RBF(2))])
def test_without_a_kl_term_there_is_no_kl_weight(objective):
    text = f"Expected kl_weight 1 without a warm-up for {type(objective).__name__}"
    for refused in (KLWarmup(weight=0.5), KLWarmup(epochs=1), KLWarmup(steps=1)):
        with pytest.raises(ValueError, match=text):
            check_kl_weight(objective, refused)
        check_kl_weight(Trace_ELBO(), refused)
    check_kl_weight(objective, KLWarmup())


# Objectives


def test_an_objective_may_be_a_class_or_left_out():
    assert type(as_objective(None)) is Trace_ELBO
    assert type(as_objective(TraceMeanField_ELBO)) is TraceMeanField_ELBO
    own = Trace_ELBO(num_particles=3)
    assert as_objective(own) is own


@pytest.mark.parametrize(
    ("objective", "text"),
    [
        ("Trace_ELBO", r"Expected objective to be a Pyro ELBO, such as Trace_ELBO\(\); got 'Trace_ELBO'\."),
        (torch.nn.MSELoss(), r"such as Trace_ELBO\(\); got MSELoss\(\)"),
        (
            JitTrace_ELBO(),
            r"got JitTrace_ELBO, which keeps those of its first call\. Use Trace_ELBO\(\) with compile=True",
        ),
        (JitTraceMeanField_ELBO, r"Use TraceMeanField_ELBO\(\) with compile=True"),
        (CompiledELBO(JitTraceGraph_ELBO()), r"Use TraceGraph_ELBO\(\) with compile=True"),
        (ReweightedWakeSleep(), "Expected an objective with one loss, a number; got ReweightedWakeSleep"),
        (TraceTailAdaptive_ELBO(), "got TraceTailAdaptive_ELBO, which has none"),
    ],
)
def test_what_cannot_be_trained_is_refused(objective, text):
    with pytest.raises((TypeError, ValueError), match=text):
        as_objective(objective)
