"""What people write in Pyro models: each row is the right number in each use, with one tensor and with several, or a
sentence.

`python tests/pairs/test_constructs.py > docs/constructs.md` writes the page of the docs.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyro
import pytest
import torch
from constructs import (
    A,
    BatchNorm,
    BayesianLayer,
    BayesianLayerGuide,
    BuiltAtFirstCall,
    ByGroup,
    Decoder,
    FlowGuide,
    InnerLatentsGuide,
    ObsMaskGuide,
    OfPyroModule,
    Packed,
    Posterior,
    Recurrent,
    Scaled,
    SharedWeightsGuide,
    SubsampledGuide,
    TeacherForcingGuide,
    UnrolledGuide,
    UnsizedGuide,
    W,
    X,
    announced_too_early,
    autoencoder_elbo,
    by_place,
    conditioned,
    deterministic,
    empirical_prior,
    factor,
    flat_prior,
    inner_latents,
    inner_plate,
    law,
    lazy,
    log_law_of_lengths,
    log_law_of_steps,
    log_masked_law,
    masked,
    masked_distribution,
    masked_out,
    obs_mask,
    of_few_bits,
    of_lengths,
    of_torch,
    of_total_size,
    opened_twice,
    params,
    plain,
    point_mass_prior,
    reparameterized,
    scoped,
    seen,
    sequential_plate,
    several_sites,
    shared_weights,
    shift,
    subsampled,
    subsampled_features,
    teacher_forcing,
    transformed,
    uncounted_prior,
    unrolled,
    unsized,
    without_initial_value,
    without_noise,
)
from pyro import poutine
from pyro.infer.autoguide import AutoDelta, AutoMultivariateNormal, AutoNormal
from pyro.infer.reparam import LocScaleReparam
from torch import nn

from pyro_vae import Fit, annealed_log_marginal, diagnose, fit, log_marginal, sample

PAGE = Path(__file__).parents[2] / "docs" / "constructs.md"
N, DRAWS = 6, 2000
SHORT = {"num_temperatures": 5, "num_leapfrog": 2, "num_chains": 16, "num_warmup_chains": 2, "compile": False}


USES = ("fit", "log_marginal", "annealed_log_marginal", "diagnose", "sample")
EXACT = "the closed form of log p(x)"


def log_law(x, y=None):
    return law(x, y).log_prob(x)


@dataclass(frozen=True)
class Row:
    """A construct, what makes its pair for a stretch of the guide, and what must come.

    Attributes:
        refused: what is said, by use.
        log_prob: the truth, of one tensor or of several, and what it is in words.
        elbo: of the exact guide, where its draws differ; else it is log p(x).
        drawn: observed site and the columns of x that it stands for, to be compared with draws of them; None where
            draws share a latent, so that there is no law of one.
        trained: whether the loss in training mode is that in evaluation mode.
        second: the second input, "y" or "lengths".
    """

    construct: str
    pair: Callable[[float], tuple[Callable[..., Any], Callable[..., Any]]]
    refused: Mapping[str, str] = field(default_factory=dict)
    log_prob: Callable[..., torch.Tensor] = log_law
    truth: str = EXACT
    elbo: Callable[..., torch.Tensor] | None = None
    drawn: tuple[str, slice] | None = ("x", slice(0, X))
    weights: torch.Tensor = W
    trained: bool = True
    second: str = "y"


def of(model, guide=Posterior, **settings):
    """The pairs of a row: a model and the class of its guide."""
    return lambda stretch: (model, guide(stretch, **settings))


def made(make, guide=Posterior, **settings):
    """The same with a new model each time."""
    return lambda stretch: (make(), guide(stretch, **settings))


def decoder(*layers):
    return made(lambda: Decoder(nn.Sequential(*(layer() for layer in layers))))


def in_all_but(*uses, said):
    return dict.fromkeys([use for use in USES if use not in uses], said)


MISSING = "the same, of the values that are not missing"
AUTO = "Expected a guide that is a function of the data; got an AutoGuide."
OUTSIDE = (
    "inside the plate over the data, pyro.plate('data', len(x), dim=-1); it is outside, so log p(x) of one data point "
    "is not defined. For a number that all data points share, use pyro.param"
)
FIXED = "values fixed beforehand, as by pyro.condition(model, ...), do not follow the batch."
READS = "Expected a model that reads nothing off its argument before it is observed"
FACTOR = "which changes the probability of latents and data but draws none"

ROWS = [
    Row("one latent, one observed site", of(plain)),
    Row("an inner plate, `pyro.plate(..., dim=-2)`", of(inner_plate)),
    Row("latents in an inner plate", of(inner_latents, InnerLatentsGuide)),
    Row("several observed sites", of(several_sites), drawn=("b", slice(1, X))),
    Row("a sequential plate, `for j in pyro.plate(...)`", of(sequential_plate), drawn=("x_1", slice(1, 2))),
    Row("`pyro.factor`", of(factor), refused={"sample": FACTOR}),
    Row("`pyro.deterministic`", of(deterministic)),
    Row("a `TransformedDistribution` of the data", of(transformed)),
    Row("a flow in the guide, as a `TransformedDistribution`", of(plain, FlowGuide)),
    Row("`pyro.condition` in the model, `pyro.condition(free, {'x': x})(x)`", of(conditioned)),
    Row(
        "`pyro.condition(model, {'x': values})`, values fixed for all batches",
        of(pyro.condition(plain, {"x": torch.zeros(6, X)})),
        refused=in_all_but("sample", said=FIXED),
    ),
    Row(
        "`poutine.mask` around an observed site",
        of(masked, seen=seen),
        log_prob=log_masked_law,
        truth=MISSING,
        drawn=("b", slice(1, X)),
    ),
    Row(
        "`.mask` of a distribution, by the values",
        of(masked_distribution, seen=seen),
        refused={"sample": READS},
        log_prob=log_masked_law,
        truth=MISSING,
    ),
    Row(
        "`obs_mask`, the guide's `b_unobserved` under the complement",
        of(obs_mask, ObsMaskGuide, seen=seen),
        log_prob=log_masked_law,
        truth=MISSING,
        drawn=("b_observed", slice(1, X)),
    ),
    Row("`pyro.param` with a constraint", of(params)),
    Row("`PyroModule` with `PyroParam` and `PyroSample`", made(OfPyroModule)),
    Row("`nn.LazyLinear`", decoder(lazy)),
    Row("a layer that is made at the first call", decoder(BuiltAtFirstCall)),
    Row("batch norm", decoder(BuiltAtFirstCall, BatchNorm), trained=False),
    Row("dropout", decoder(BuiltAtFirstCall, nn.Dropout), trained=False),
    Row("GRU in the guide", of(plain, Recurrent, kind=nn.GRU)),
    Row("LSTM in the guide", of(plain, Recurrent, kind=nn.LSTM)),
    *(
        Row(
            f"{kind.__name__} with `pack_padded_sequence`, lengths as second input",
            of(of_lengths, Packed, kind=kind),
            log_prob=log_law_of_lengths,
            truth="the same, of the first values, as many as the length says",
            second="lengths",
        )
        for kind in (nn.GRU, nn.LSTM)
    ),
    Row("`pyro.plate('data', N, subsample=x)` in the model", of(of_total_size)),
    Row("`pyro.plate('data')`, without a size", of(unsized, UnsizedGuide)),
    Row("a plate over the data that is opened twice", of(opened_twice)),
    Row(
        "a Markov chain, `pyro.sample(f'z_{t}')` in `pyro.markov`",
        of(unrolled, UnrolledGuide),
        log_prob=lambda x, y=None: law(x, y, A).log_prob(x),
        weights=A,
        drawn=("x_1", slice(1, 2)),
    ),
    Row("`functools.partial` of a method", made(lambda: functools.partial(Scaled().model, factor=3.0))),
    Row("`poutine.reparam`", of(reparameterized, name="z_decentered")),
    Row(
        "`poutine.reparam` around a module",
        made(
            lambda: poutine.reparam(Decoder(BuiltAtFirstCall()), {"z": LocScaleReparam(0.0)}),
            name="z_decentered",
        ),
    ),
    Row("`pyro.contrib.autoname.scope`", of(scoped, name="latents/z"), drawn=("decoder/x", slice(0, X))),
    Row(
        "`EasyGuide` with a group",
        of(plain, ByGroup),
        refused={
            "annealed_log_marginal": "got the auxiliary site 'all'. Use start='prior'.",
            "diagnose": "got the auxiliary site 'all'. Give num_pool=0",
        },
    ),
    *(
        Row(f"`{auto.__name__}`", lambda _, auto=auto: (plain, auto(plain)), refused=in_all_but("sample", said=AUTO))
        for auto in (AutoNormal, AutoMultivariateNormal, AutoDelta)
    ),
    Row(
        "a latent that all data points share",
        of(shared_weights, SharedWeightsGuide),
        refused=in_all_but("sample", said=OUTSIDE),
        drawn=None,
    ),
    Row(
        "a prior over a layer's weights, by `to_pyro_module_` and `PyroSample`",
        made(BayesianLayer, BayesianLayerGuide),
        refused=in_all_but("sample", said=OUTSIDE),
        drawn=None,
    ),
    Row(
        "a latent that all share, given its value: `poutine.block(poutine.condition(model, {'w': w}), hide=['w'])`",
        of(poutine.block(poutine.condition(shared_weights, {"w": W}), hide=["w"])),
    ),
    Row(
        "`pyro.param` with an entry for each place in a plate",
        of(by_place),
        refused=in_all_but("sample", said="with an entry for each place in the batch"),
        drawn=None,
    ),
    Row(
        "`poutine.mask(mask=False)` around all that is observed",
        of(masked_out),
        refused=in_all_but("sample", said="got no observed site that counts"),
    ),
    Row(
        "data at a point mass, `dist.Delta(f(z)), obs=x`",
        of(without_noise),
        refused=in_all_but("sample", said="got data beside a point mass"),
        drawn=None,
    ),
    Row(
        "log-probabilities in bfloat16 or float16",
        of(of_few_bits),
        refused=in_all_but("sample", said="Expected log-probabilities of 32 bits or more"),
        drawn=None,
    ),
    Row(
        "`pyro.param` without an initial value",
        of(without_initial_value),
        refused=in_all_but(said="Expected an initial value for pyro.param('nowhere')"),
    ),
    Row(
        "`pyro.module` of a lazy layer before its first call",
        made(announced_too_early),
        refused=in_all_but(said="Expected layers that have got their shapes before pyro.module announces them"),
    ),
    Row(
        "a distribution of `torch.distributions`",
        of(of_torch),
        refused=in_all_but(said="Expected distributions of pyro.distributions; got one of torch.distributions."),
    ),
    Row(
        "a plate over the data with `subsample_size`",
        of(subsampled, SubsampledGuide),
        refused=in_all_but(said="Expected the plate over the data to hold all"),
    ),
    Row(
        "an inner plate with `subsample_size`",
        of(subsampled_features),
        refused=dict.fromkeys(
            ("log_marginal", "annealed_log_marginal", "sample"),
            "got a part of one, whose log p(x) is not that of the whole. Leave out subsample and subsample_size",
        ),
        elbo=log_law,
        truth="the ELBO, in the mean over the parts",
    ),
    Row(
        "`dist.ImproperUniform` as a prior",
        of(flat_prior),
        refused={
            **dict.fromkeys(("log_marginal", "annealed_log_marginal"), "Expected a prior that integrates to 1"),
            "sample": "Expected a prior that can be drawn from",
        },
        elbo=autoencoder_elbo,
        truth="the closed form of the autoencoder's loss",
    ),
    Row(
        "`dist.Empirical` as a prior",
        of(empirical_prior),
        refused=in_all_but(said="Expected a distribution with a density at site 'z'; got Empirical"),
    ),
    Row(
        "`dist.Delta` as a prior, a density as guide",
        of(point_mass_prior),
        refused=in_all_but("sample", said="Expected a prior with a density at site 'z'"),
        drawn=None,
    ),
    Row(
        "`.mask` of a prior alone",
        of(uncounted_prior),
        refused=in_all_but("sample", said="Expected site 'z' under the same mask in model and guide"),
    ),
    Row(
        "teacher forcing, by values read off the argument",
        of(teacher_forcing, TeacherForcingGuide),
        refused={"sample": READS},
        log_prob=log_law_of_steps,
    ),
]


def page() -> str:
    """docs/constructs.md: the rows as a Markdown table."""
    lines = [
        "# What people write in Pyro models",
        "",
        "Each row is tried with one tensor and with several by tests/pairs/test_constructs.py, which also writes this",
        "page. **right**: compared with the truth, to rounding or within five standard errors. **refused**: by a",
        "sentence before the first step, of which a part is quoted. `log_marginal` is tried from the guide and with",
        "`estimator='auto'`; `sample` is compared with mean and covariance of the law of x.",
        "",
    ]
    lines += [f"| construct | {' | '.join(f'`{use}`' for use in USES)} | compared with, or what is said |"]
    lines += ["|---" * (len(USES) + 2) + "|"]
    for row in ROWS:
        cells = ["refused" if use in row.refused else "right" for use in USES]
        cells[-1] = "-" if row.drawn is None else cells[-1]
        said = dict.fromkeys(f'"{sentence}"' for sentence in row.refused.values())
        words = "; ".join([*([row.truth] if "right" in cells[:-1] else []), *said])
        lines.append(f"| {row.construct} | {' | '.join(cells)} | {words} |")
    return "\n".join([*lines, ""])


@pytest.fixture(autouse=True)
def _short_warm_up(monkeypatch):
    monkeypatch.setattr("pyro_vae.evidence.annealed_chains.FIRST_TRANSITIONS", 4)
    monkeypatch.setattr("pyro_vae.evidence.annealed_chains.LEAST_TRANSITIONS", 4)


def within_errors(estimate, truth, errors):
    return bool(((estimate - truth).abs() <= 5 * errors + 1e-4).all())


def a_fit(row, inputs, args):
    """The losses of steps of no length are the ELBO, which of the exact guide is log p(x) for every draw."""
    model, guide = row.pair(1.0)
    epochs = 1 if row.elbo is None else 60
    result = fit(
        model, guide, inputs, validation=inputs, epochs=epochs, batch_size=N // 2, progress=False, compile=False,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=1e-9),
    )  # fmt: skip
    losses = torch.tensor([entry["loss"] for entry in result.history])
    if row.elbo is not None:
        assert within_errors(-losses.mean(), row.elbo(*args).mean(), losses.std() / epochs**0.5)
        return
    truth = row.log_prob(*args).mean()
    assert within_errors(torch.tensor(result.history[0]["validation_elbo"]), truth, 0.0)
    assert within_errors(-losses, truth, 0.0) == row.trained


def a_log_marginal(row, inputs, args):
    estimator = "auto" if torch.is_tensor(inputs) == (row.second == "y") else "guide"
    result = log_marginal(*row.pair(1.4), inputs, num_samples=200, estimator=estimator)
    assert within_errors(result.log_prob, row.log_prob(*args), result.standard_error)


def an_annealed_log_marginal(row, inputs, args):
    result = annealed_log_marginal(*row.pair(1.4), inputs, **SHORT)
    assert within_errors(result.log_prob, row.log_prob(*args), result.standard_error)


def a_diagnosis(row, inputs, args):
    elbo = diagnose(*row.pair(1.0), inputs, num_samples=4 if row.elbo is None else 100).elbo
    truth = (row.log_prob if row.elbo is None else row.elbo)(*args).mean()
    assert within_errors(torch.tensor(elbo.value), truth, elbo.monte_carlo_error)


def a_sample(row, inputs, args):
    """Of many draws for the same inputs, mean and covariance are those of the law."""
    (name, columns), (x, *others) = row.drawn, args
    many = [entry[:1].expand(DRAWS, *entry.shape[1:]) for entry in (torch.zeros(1, X), *others)]
    drawn, _ = sample(row.pair(1.0)[0], tuple(many) if others else many[0], site=name)
    drawn = drawn.reshape(DRAWS, -1)
    y = others[0] if others and row.second == "y" else None
    exact = law(x, y, row.weights)
    loc, covariance = shift(x, y)[0], exact.covariance_matrix[0][columns, columns]
    squares = (drawn - loc)[:, :, None] * (drawn - loc)[:, None]
    assert within_errors(drawn.mean(0), loc, covariance.diagonal().sqrt() / DRAWS**0.5)
    assert within_errors(squares.mean(0), covariance, squares.std(0) / DRAWS**0.5)


TRIED = dict(zip(USES, (a_fit, a_log_marginal, an_annealed_log_marginal, a_diagnosis, a_sample), strict=True))


@pytest.mark.filterwarnings("ignore:The parameters .* took their initial values", "ignore::pyro_vae.HeavyTail")
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.construct)
def test_the_right_number_or_a_sentence(row, use):
    x, y = torch.randn(N, X), torch.randn(N)
    lengths = torch.tensor([1, 2, 3, 3, 2, 1])
    for args in [(x,), (x, y)] if row.second == "y" else [(x, lengths)]:
        inputs = args if len(args) > 1 else x
        if use in row.refused:
            with pytest.raises((ValueError, TypeError), match=re.escape(row.refused[use])):
                TRIED[use](row, inputs, args)
        elif not (use == "sample" and row.drawn is None):
            TRIED[use](row, inputs, args)


def test_values_that_are_fixed_for_a_whole_batch_are_refused():
    """Of their number, a batch passes; it is shuffled, and they are not."""
    x = torch.randn(N, X)
    with pytest.raises(ValueError, match=re.escape(FIXED)):
        fit(pyro.condition(plain, {"x": x}), Posterior(1.0), x, batch_size=N, progress=False)


@pytest.mark.parametrize("layer", [lazy, BuiltAtFirstCall])
def test_layers_of_the_first_call_are_loaded_after_one(layer, tmp_path):
    x = torch.randn(N, X)
    model, guide = Decoder(layer()), Posterior(1.0)
    result = fit(model, guide, x, epochs=2, progress=False, compile=False)
    result.save(tmp_path / "fit")
    again = Decoder(layer())
    with pytest.raises(ValueError, match="call the guide and the model once before"):
        Fit.load(tmp_path / "fit", again, Posterior(1.0))
    again(x)
    Fit.load(tmp_path / "fit", again, Posterior(1.0))
    assert all(map(torch.equal, again.parameters(), model.parameters()))


def test_the_page_of_the_docs_is_this_table():
    assert PAGE.read_text() == page()


if __name__ == "__main__":
    print(page(), end="")
