"""`fit` trains any pair, towards the closed-form optimum, and leaves everything else as it was."""

import functools
import io
import math
import re
import warnings

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from examples import PAIRS, LinearGaussian, Own, Pyronic, Undecorated, bound, functions_with_modules, patterns, vae
from goodness_of_fit import assert_within_standard_errors
from PIL import Image
from pyro.infer import RenyiELBO, Trace_ELBO, TraceMeanField_ELBO
from sklearn.decomposition import PCA
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from pyro_vae import (
    MLP,
    VAE,
    Bernoulli,
    Gaussian,
    GaussianEncoder,
    KLWarmup,
    NonFiniteLoss,
    StandardNormal,
    StopTraining,
    adam,
    fit,
    log_marginal,
)
from pyro_vae.data import Data
from pyro_vae.pairs.contexts import evaluating, seeded
from pyro_vae.pairs.modules import modules_of
from pyro_vae.pairs.scoring import score

train = functools.partial(fit, progress=False, batch_size=8)


def parameters(pair):
    return {
        f"{name}.{key}": p for name, m in modules_of(pair.model, pair.guide).items() for key, p in m.named_parameters()
    }


def copies(tensors):
    return {name: value.detach().clone() for name, value in tensors.items()}


def column(result, name):
    return [entry[name] for entry in result.history]


def sgd(lr=0.0):
    return lambda params: torch.optim.SGD(params, lr=lr)


# Every pair learns


@pytest.mark.parametrize("name", PAIRS)
def test_every_pair_learns_and_nothing_else_changes(name, global_state):
    pair = PAIRS[name]()
    before, state, rng = copies(parameters(pair)), global_state(), torch.get_rng_state()
    result = train(pair.model, pair.guide, pair.x, epochs=20, optimizer=adam(0.02))
    losses = column(result, "loss")
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    for key, p in parameters(pair).items():
        assert not torch.equal(p, before[key]), key
        assert not p.requires_grad or p.grad is None, key
    assert global_state() == state
    assert torch.equal(torch.get_rng_state(), rng)
    # What comes back is ready for evaluation, and better than at first.
    with pyro.get_param_store().scope():
        assert (
            log_marginal(result.model, result.guide, pair.x, num_samples=20, estimator="guide").mean.value > -losses[0]
        )


@pytest.mark.parametrize("make", [Own, Pyronic, Undecorated])
def test_several_pairs_of_one_kind_learn_in_one_process(make):
    x = patterns(24, (12,))
    for _ in range(3):
        pair = bound(make())
        before = copies(parameters(pair))
        losses = column(train(pair.model, pair.guide, x, epochs=20, optimizer=adam(0.01)), "loss")
        assert losses[-1] < losses[0]
        assert all(not torch.equal(p, before[key]) for key, p in parameters(pair).items())


def test_functions_are_trained_apart_from_the_callers_store():
    pair = PAIRS["functions with pyro.param"]()
    with pyro.get_param_store().scope():
        pyro.param("q_scale", torch.tensor([7.0, 7.0]))
        held = pyro.param("q_scale").detach().clone()
        first = train(pair.model, pair.guide, pair.x, epochs=20)
        second = train(pair.model, pair.guide, pair.x, epochs=20)
        assert torch.equal(pyro.param("q_scale"), held)
        assert set(pyro.get_param_store().keys()) == {"q_scale"}
        assert column(first, "loss") == pytest.approx(column(second, "loss"), rel=1e-6)  # both start afresh
    assert set(first.state) == {"param.weight", "param.q_weight", "param.q_scale"}
    # The functions that come back hold the best state.
    trace = pyro.poutine.trace(first.guide).get_trace(pair.x)
    torch.testing.assert_close(trace.nodes["q_scale"]["value"].log(), first.state["param.q_scale"])
    assert not list(pyro.get_param_store().keys())


def test_functions_with_modules_train_those_modules():
    pair = functions_with_modules()
    before = copies(parameters(pair))
    result = train(pair.model, pair.guide, pair.x, epochs=3)
    assert set(result.state) == set(before)
    assert all(not torch.equal(p, before[key]) for key, p in parameters(pair).items())
    assert all(torch.equal(p, result.state[key]) for key, p in parameters(pair).items())


# Truth


@pytest.fixture(scope="module")
def ppca():
    """Data from a linear-Gaussian model, and the largest mean log-likelihood any such model can reach on them."""
    generator = torch.Generator().manual_seed(4)
    weight = torch.randn(5, 2, generator=generator)
    x = torch.randn(400, 2, generator=generator) @ weight.T + 0.5 * torch.randn(400, 5, generator=generator) + 1.0
    eigenvalues = torch.linalg.eigvalsh(x.T.cov(correction=0).double()).flip(0)
    noise = eigenvalues[2:].mean()
    logs = eigenvalues[:2].log().sum() + 3 * noise.log()
    optimum = -0.5 * (5 * math.log(2 * math.pi) + logs.item() + 5)
    assert PCA(2).fit(x.numpy()).score(x.numpy()) == pytest.approx(optimum, abs=1e-3)  # sklearn divides by n - 1
    return x, optimum


def decay(optimizer):
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20 * 50)


def test_a_linear_vae_reaches_probabilistic_pca(ppca):
    x, optimum = ppca
    linear = functools.partial(MLP, hidden=())
    px = Gaussian(5)
    model = VAE(StandardNormal(2), GaussianEncoder(5, 2, network=linear), linear(2, 5), px)
    result = fit(
        model.model, model.guide, x, epochs=50, batch_size=20, optimizer=adam(0.05), scheduler=decay, progress=False,
        objective=TraceMeanField_ELBO(num_particles=4, vectorize_particles=True, max_plate_nesting=1),
    )  # fmt: skip
    fitted = LinearGaussian()
    decoder = model.decoder.layers[-1]
    with torch.no_grad():
        fitted.weight, fitted.bias = decoder.weight, decoder.bias
        fitted.log_scale.copy_(px(torch.zeros(5)).base_dist.scale[0].log())
    reached = fitted.log_prob(x).mean().item()
    assert optimum - 0.02 < reached <= optimum + 1e-6
    # Its linear encoder can hold the exact posterior, so that the bound is nearly tight, and importance sampling exact.
    assert -result.history[-1]["loss"] == pytest.approx(optimum, abs=0.1)
    estimate = log_marginal(model.model, model.guide, x, num_samples=200, estimator="guide")
    assert abs(estimate.mean.value - reached) < 5 * estimate.mean.monte_carlo_error


def test_an_exact_guide_makes_training_maximum_likelihood(ppca):
    x, optimum = ppca
    model = LinearGaussian()
    result = fit(model.model, model.guide, x, epochs=40, batch_size=20, optimizer=adam(0.03), progress=False)
    assert model.log_prob(x).mean().item() == pytest.approx(optimum, abs=0.02)
    assert -result.history[-1]["loss"] == pytest.approx(optimum, abs=0.05)


@pytest.mark.parametrize(
    "objective",
    [
        Trace_ELBO(num_particles=3, vectorize_particles=True),
        TraceMeanField_ELBO(),
        RenyiELBO(alpha=0, num_particles=4, vectorize_particles=True),
    ],
)
def test_any_of_pyros_objectives(ppca, objective):
    x, optimum = ppca
    model = LinearGaussian()
    start = model.log_prob(x).mean().item()
    fit(
        model.model, model.mediocre_guide, x, objective=objective, epochs=20, batch_size=20, optimizer=adam(0.03),
        progress=False,
    )  # fmt: skip
    assert start + 0.9 * (optimum - start) < model.log_prob(x).mean().item() <= optimum + 1e-6


def test_iwae_is_closer_to_log_p_than_the_elbo(ppca):
    x, _ = ppca
    model = LinearGaussian()
    losses = {}
    for k in (1, 32):
        objective = RenyiELBO(alpha=0, num_particles=k, vectorize_particles=True)
        if k == 1:
            objective = Trace_ELBO()
        runs = [
            train(model.model, model.mediocre_guide, x, objective=objective, optimizer=sgd(), epochs=1, seed=s).history
            for s in range(4)
        ]
        losses[k] = np.array([run[0]["loss"] for run in runs])
    truth = -model.log_prob(x).mean().item()
    elbo = -model.elbo(x).mean().item()
    assert abs(losses[1].mean() - elbo) < 5 * losses[1].std(ddof=1) / 2
    assert truth < losses[32].mean() < elbo - 0.5 * (elbo - truth)


# History and callbacks


def test_history_and_steps(ppca):
    x, _ = ppca
    model, seen = LinearGaussian(), []
    result = train(
        model.model, model.guide, x[:30], validation=x[30:50], epochs=3,
        on_step=lambda step, metrics: seen.append((step, dict(metrics))),
    )  # fmt: skip
    assert [step for step, _ in seen] == list(range(1, 13))  # 30 images are 3 batches of 8 and one of 6
    assert [entry for step, entry in seen if step % 4 == 0] == result.history
    assert all(set(entry) == {"loss"} for step, entry in seen if step % 4)
    for epoch, entry in enumerate(result.history, 1):
        assert (entry["epoch"], entry["step"], entry["kl_weight"], entry["learning_rate"]) == (
            epoch,
            4 * epoch,
            1,
            1e-3,
        )
        assert entry["validation_elbo"] == pytest.approx(-entry["validation_rate"] - entry["validation_distortion"])
        assert entry["grad_norm"] > 0
        assert entry["seconds"] > 0
    assert not result.stopped_early


def test_the_loss_of_an_epoch_is_the_mean_over_its_images(ppca):
    """With the exact guide each loss is -log p(x), whatever is drawn; nothing moves."""
    x, _ = ppca
    model, seen = LinearGaussian(), []
    result = train(
        model.model, model.guide, x[:30], epochs=1, optimizer=sgd(), on_step=lambda step, metrics: seen.append(metrics)
    )
    assert result.history[0]["loss"] == pytest.approx(-model.log_prob(x[:30]).mean().item(), rel=1e-5)
    mean = sum(entry["loss"] * 8 for entry in seen[:3])
    assert mean < result.history[0]["loss"] * 30  # the last batch of 6 has its share


def test_every_data_point_is_used_once_in_each_epoch_in_another_order():
    x, batches = patterns(30, (12,)), []
    x[:, 0] = torch.arange(30) / 30
    x[:, 1:] = 0

    def model(x):
        loc = pyro.param("loc", torch.zeros(12))
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)

    def note(batch):
        batches.append(batch[:, 0])
        return batch

    train(model, lambda x: None, x, batch_transform=note, epochs=2)
    batches = batches[-8:]  # after looks at the pair before training
    assert [len(batch) for batch in batches] == [8, 8, 8, 6] * 2
    first, second = torch.cat(batches[:4]), torch.cat(batches[4:])
    assert torch.equal(first.sort().values, x[:, 0])
    assert torch.equal(second.sort().values, x[:, 0])
    assert not torch.equal(first, second)


def test_data_bring_their_validation_data_and_batch_transform():
    grey = torch.rand(24, 3, 4)
    data = Data(
        name="grey",
        train=grey,
        validation=(grey > 0.5).float(),
        test=grey,
        protocol="",
        batch_transform=torch.bernoulli,
    )
    pair = vae("StandardNormal")
    result = train(pair.model, pair.guide, data, epochs=2)  # grey pixels would be outside the Bernoulli's support
    assert "validation_elbo" in result.history[0]


def test_the_same_seed_gives_the_same_run():
    def losses(seed):
        torch.manual_seed(0)
        pair = bound(Own())
        return column(train(pair.model, pair.guide, pair.x, epochs=3, seed=seed), "loss")

    assert losses(1) == losses(1)
    assert losses(1) != losses(2)
    torch.manual_seed(0)
    assert losses(None) == losses(None)


# Best state


def test_the_best_state_is_the_one_whose_validation_elbo_was_recorded(ppca):
    x, _ = ppca
    model = LinearGaussian()
    # Its mean alone is trained, and passes the validation images on its way: the best epoch is not the last.
    model.weight.requires_grad_(False), model.log_scale.requires_grad_(False)
    with torch.no_grad():
        model.bias.copy_(x.mean(0) + 4)
    validation = x[40:] + 2
    result = train(model.model, model.mediocre_guide, x[:40], validation=validation, epochs=25, optimizer=adam(0.1))
    recorded = column(result, "validation_elbo")
    assert result.best_epoch == 1 + int(np.argmax(recorded)) < 25
    with evaluating(model.model, model.guide), seeded(0):
        again = score(model.model, model.mediocre_guide, validation).log_weight.mean().item()
    assert again == pytest.approx(max(recorded), rel=1e-6)
    for name, p in model.named_parameters():
        assert torch.equal(p, result.state[f"pair.{name}"])


def test_without_validation_images_the_last_state_is_kept(ppca):
    x, _ = ppca
    model, last = LinearGaussian(), {}
    result = train(
        model.model,
        model.guide,
        x[:40],
        epochs=3,
        on_step=lambda *_: last.update(copies(dict(model.named_parameters()))),
    )
    assert result.best_epoch == 3
    assert all(torch.equal(p, last[name]) for name, p in model.named_parameters())


def test_early_stopping_counts_from_the_end_of_the_warm_up(ppca):
    x, _ = ppca
    arguments = {"validation": x[40:60], "epochs": 30, "optimizer": sgd(), "patience": 3}
    model = LinearGaussian()
    # Nothing moves: the first epoch stays the best.
    plain = train(model.model, model.guide, x[:40], **arguments)
    assert (len(plain.history), plain.best_epoch, plain.stopped_early) == (4, 1, True)
    assert re.fullmatch(
        r"Fit\(best epoch 1 of 4, stopped early: loss [\d.]+, validation ELBO -[\d.]+ nats per data point\)",
        repr(plain),
    )
    warm = train(model.model, model.guide, x[:40], kl_weight=KLWarmup(epochs=10), **arguments)
    assert (len(warm.history), warm.best_epoch, warm.stopped_early) == (12, 1, True)  # epochs 10, 11 and 12


def test_the_best_state_is_chosen_at_full_kl_weight(ppca):
    x, _ = ppca
    model = LinearGaussian()
    weight = 5.0
    result = train(
        model.model, model.mediocre_guide, x[:40], validation=x[40:], epochs=15,
        kl_weight=KLWarmup(epochs=10, weight=weight), optimizer=adam(0.1),
    )  # fmt: skip
    full = [entry["validation_distortion"] + weight * entry["validation_rate"] for entry in result.history]
    assert result.best_epoch == 1 + int(np.argmin(full))
    assert result.best_epoch != 1 + int(np.argmax(column(result, "validation_elbo")))


# KL weight, schedules, clipping


def test_the_warm_up_is_recorded_and_at_weight_zero_the_loss_is_the_distortion(ppca):
    x, _ = ppca
    model = LinearGaussian()
    result = train(model.model, model.guide, x[:40], validation=x[:40], epochs=4, kl_weight=KLWarmup(steps=10))
    assert column(result, "kl_weight") == pytest.approx([0.4, 0.9, 1.0, 1.0])  # before the last step of each epoch


def test_at_kl_weight_zero_the_loss_is_the_distortion(ppca):
    x = ppca[0][:40]
    model = LinearGaussian()
    with torch.no_grad():
        q = model.mediocre_posterior(x).base_dist
        rate = torch.distributions.kl_divergence(q, dist.Normal(0.0, 1.0)).sum(-1).mean().item()
    distortion = -model.elbo(x).mean().item() - rate
    losses = torch.tensor([
        train(model.model, model.mediocre_guide, x, kl_weight=0.0, optimizer=sgd(), epochs=1, seed=s).history[0]["loss"]
        for s in range(30)
    ])  # fmt: skip
    assert_within_standard_errors(losses, distortion)
    assert rate > losses.std().item()  # which counting the rate would not


def test_a_warm_up_beyond_the_end_of_the_run_is_warned_of_and_remembered(ppca):
    x, _ = ppca
    model = LinearGaussian()
    with pytest.warns(UserWarning, match="The KL warm-up takes 10 steps but the run ends after 5"):
        result = train(model.model, model.guide, x[:40], epochs=1, kl_weight=KLWarmup(epochs=2))
    assert not result.warmed_up
    assert repr(result).endswith("nats per data point; KL weight 0.4, still in its warm-up)")
    result = train(model.model, model.guide, x[:40], epochs=2, kl_weight=KLWarmup(epochs=2))
    assert result.warmed_up
    assert repr(result).endswith("nats per data point)")


def test_iwae_refuses_a_kl_weight(ppca):
    x, _ = ppca
    model = LinearGaussian()
    with pytest.raises(ValueError, match="Expected kl_weight 1 without a warm-up for RenyiELBO"):
        train(model.model, model.guide, x, objective=RenyiELBO(num_particles=2), kl_weight=0.5)


def test_a_scheduler_is_stepped_at_each_step(ppca):
    x, _ = ppca
    model = LinearGaussian()
    result = train(
        model.model, model.guide, x[:40], epochs=3, optimizer=adam(0.1),
        scheduler=lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.9**step),
    )  # fmt: skip
    assert column(result, "learning_rate") == pytest.approx([0.1 * 0.9**step for step in (5, 10, 15)])


def test_gradients_are_clipped(ppca):
    x, _ = ppca
    model = LinearGaussian()
    before = copies(dict(model.named_parameters()))
    result = train(model.model, model.guide, x[:8], epochs=1, optimizer=sgd(1.0), clip_norm=0.01)
    moved = torch.cat([(p - before[name]).flatten() for name, p in model.named_parameters()]).norm().item()
    assert result.history[0]["grad_norm"] > 1
    assert moved == pytest.approx(0.01, rel=1e-3)


# Modes and frozen parameters


class Moody(Own):
    def __init__(self):
        super().__init__()
        self.encode.insert(1, nn.BatchNorm1d(16))
        self.decode.insert(1, nn.Dropout(0.5))
        self.decode[1].eval()  # as its owner left it
        self.modes = []

    def model(self, x):
        self.modes.append((self.encode[1].training, self.decode[1].training))
        return super().model(x)


def test_modules_train_in_training_mode_are_validated_in_evaluation_mode_and_end_as_they_were():
    pair = bound(Moody())
    module = pair.model.__self__
    running = module.encode[1].running_mean.clone()
    result = train(pair.model, pair.guide, pair.x, validation=pair.x, epochs=1)
    trained = [mode for mode in module.modes if mode[0]]
    assert trained == [(True, False)] * 3
    assert module.modes[-4:] == [*trained, (False, False)]
    assert (module.training, module.encode[1].training, module.decode[1].training) == (True, True, False)
    assert not torch.equal(module.encode[1].running_mean, running)
    assert torch.equal(module.encode[1].running_mean, result.state["pair.encode.1.running_mean"])
    assert module.encode[1].num_batches_tracked == 3  # not counting the look before training


@pytest.mark.parametrize("make", [Own, Undecorated])
@pytest.mark.filterwarnings(
    "ignore:.* was not registered in the param store because requires_grad=False"
)  # as it should
def test_frozen_parameters_stay(make):
    pair = bound(make())
    module = pair.model.__self__
    module.decode.requires_grad_(False)
    before = copies(dict(module.named_parameters()))
    train(pair.model, pair.guide, pair.x, epochs=2)
    for name, p in module.named_parameters():
        assert torch.equal(p, before[name]) == name.startswith("decode"), name
        assert p.requires_grad != name.startswith("decode")


def test_double_precision_stays_double():
    pair = bound(Own().double())
    result = train(pair.model, pair.guide, pair.x.double(), epochs=2)
    assert {value.dtype for value in result.state.values()} == {torch.float64}


# Errors


class Failing(Own):
    """Fails from a given step on, in a given way."""

    def __init__(self, fail, at):
        super().__init__()
        self.fail, self.at, self.step = fail, at, 0

    def model(self, x):
        self.step += self.training  # neither the look before training nor validation
        if self.step >= self.at > 0:
            if self.fail == "loss":
                with pyro.plate("again", len(x), dim=-1):
                    pyro.factor("cliff", torch.full((len(x),), math.nan))
            if self.fail == "gradient":
                with pyro.plate("again", len(x), dim=-1):
                    zero = (self.decode[0].bias.sum() * 0).expand(len(x))
                    pyro.factor("cliff", zero.sqrt() * 0)  # 0, with a gradient of 0 * inf
            if self.fail == "parameter":
                with torch.no_grad():
                    self.decode[0].bias.fill_(math.nan)
        return super().model(x)


@pytest.mark.parametrize(
    ("fail", "text"),
    [
        ("loss", r"at step 5 got log-probabilities that are NaN or infinite at the sites \['cliff'\]"),
        ("gradient", r"at step 5 got a gradient that is NaN or infinite, although .* The last good state is kept\."),
        ("parameter", r"at step 5 got log-probabilities that are NaN or infinite at the sites \['x'\]"),
    ],
)
@pytest.mark.parametrize("validated", [False, True])
def test_numbers_that_are_not_finite_stop_the_run_and_the_best_state_is_restored(fail, text, validated, global_state):
    pair = bound(Failing(fail, at=5))
    module, epochs = pair.model.__self__, {0: copies(parameters(pair))}
    state, rng = global_state(), torch.get_rng_state()

    def on_step(step, metrics):
        if "epoch" in metrics:
            epochs[metrics["epoch"]] = copies(parameters(pair))

    module.train()
    validation = pair.x if validated else None
    with pytest.raises(NonFiniteLoss, match=text):
        train(pair.model, pair.guide, pair.x, validation=validation, epochs=4, on_step=on_step)
    assert set(epochs) == {0, 1}
    assert all(torch.equal(p, epochs[1][key]) for key, p in parameters(pair).items())
    assert not all(torch.equal(p, epochs[0][key]) for key, p in parameters(pair).items())
    assert module.training
    assert global_state() == state
    assert torch.equal(torch.get_rng_state(), rng)


@pytest.mark.parametrize("at", [2, 5])
def test_an_interrupt_passes_on_and_the_best_state_is_restored(at, global_state):
    pair = bound(Own())
    module, seen = pair.model.__self__, {0: copies(parameters(pair))}
    module.eval()
    state = global_state()

    def on_step(step, metrics):
        seen[step] = copies(parameters(pair))
        if step == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(pair.model, pair.guide, pair.x, epochs=4, on_step=on_step)
    assert max(seen) == at
    best = seen[0 if at < 3 else 3]  # three steps are an epoch
    assert all(torch.equal(p, best[key]) for key, p in parameters(pair).items())
    assert not module.training
    assert global_state() == state


def test_warnings_filters_of_the_caller_stay():
    pair = bound(Own())
    with warnings.catch_warnings():
        before = list(warnings.filters)
        train(pair.model, pair.guide, pair.x, epochs=1)
        assert warnings.filters == before


# Progress, TensorBoard


def test_progress_is_shown_only_on_a_terminal(capsys):
    pair = bound(Own())
    fit(pair.model, pair.guide, pair.x, epochs=1)
    fit(pair.model, pair.guide, pair.x, epochs=1, progress=False)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_tensorboard_shows_the_rate_of_each_dimension_and_images(tmp_path):
    px = Bernoulli((1, 4, 4))
    pair = VAE(StandardNormal(3), GaussianEncoder((1, 4, 4), 3), MLP(3, px.feature_shape), px)
    x, expected = torch.rand(20, 1, 4, 4).round(), []

    def on_step(step, metrics):
        if "epoch" in metrics:
            with torch.no_grad():
                q = pair.encoder(x).base_dist
                nats = (q.loc**2 + q.scale**2 - 1) / 2 - q.scale.log()  # KL to N(0, 1)
            expected.append(nats.mean(0).tolist())

    train(pair.model, pair.guide, x, validation=x, epochs=3, tensorboard=tmp_path, on_step=[on_step])
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    for dimension in range(3):
        found = [event.value for event in events.Scalars(f"rate_by_dimension/z/{dimension}")]
        assert found == pytest.approx([rates[dimension] for rates in expected], rel=1e-4, abs=1e-6)
    shown = events.Images("x/reconstructions")
    assert [image.step for image in shown] == [3, 6]  # epochs 1 and 2
    page = np.asarray(Image.open(io.BytesIO(shown[0].encoded_image_string)))[:, :, 0] / 255
    assert page.shape == (2 * 5 + 1, 8 * 5 + 1)
    assert (page[1:5, 1:5] == x[0, 0].numpy()).all()  # the data in the upper row
    assert 0 < page[6:10, 1:5].min() < page[6:10, 1:5].max() < 1
    assert len(events.Images("x/samples")) == 2


def test_several_callbacks_are_called_and_any_of_them_may_stop():
    pair, seen = bound(Own()), []

    def stop(step, metrics):
        if step == 2:
            raise StopTraining

    result = train(pair.model, pair.guide, pair.x, epochs=3, on_step=[stop, lambda step, metrics: seen.append(step)])
    assert (result.stopped_early, seen) == (True, [1, 2])
    with pytest.raises(TypeError, match="Expected on_step to be a function, or several; got str"):
        train(pair.model, pair.guide, pair.x, on_step=["mlflow"])


def test_tensorboard_holds_the_history(tmp_path):
    pair = bound(Own())
    result = train(pair.model, pair.guide, pair.x, validation=pair.x, epochs=3, tensorboard=tmp_path / "logs")
    events = EventAccumulator(str(tmp_path / "logs"))
    events.Reload()
    assert {tag for tag in events.Tags()["scalars"] if "/" not in tag} == set(result.history[0])
    scalars = events.Scalars("validation_elbo")
    assert [scalar.step for scalar in scalars] == column(result, "step")
    assert [scalar.value for scalar in scalars] == pytest.approx(column(result, "validation_elbo"), rel=1e-5)
