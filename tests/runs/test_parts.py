"""Strings become objects: names, import paths, constructor arguments, and what is filled in."""

import inspect
from collections.abc import Callable
from typing import Any, get_args

import pyro.infer
import pytest
import torch
from torch import nn

from pyro_vae import MLP, VAE, ConvDecoder, GatedMLP, PixelCNN, StandardNormal, VampPrior
from pyro_vae.runs import parts

SHAPE = (1, 8, 8)
PARTS = {
    "model": {"class_path": "VAE"},
    "prior": {"class_path": "StandardNormal"},
    "likelihood": {"class_path": "Bernoulli"},
    "encoder": {"class_path": "GaussianEncoder"},
    "network": {"class_path": "MLP", "init_args": {"hidden": [16]}},
}


class OwnModel(nn.Module):
    def __init__(self, event_shape, latent_dim, width: int = 3):
        super().__init__()
        self.arguments = (event_shape, latent_dim, width)

    def model(self, x): ...

    def guide(self, x): ...


class Silent(nn.Module):
    def __init__(self):
        raise AssertionError("called before it was looked at")


class NoShape(nn.Module):
    def __init__(self, event_shape):
        super().__init__()

    def forward(self, h): ...


class Broken(nn.Module):
    def __init__(self, dim):
        raise KeyError("no such thing")

    def forward(self): ...


def part(name, **options):
    return {"class_path": name, "init_args": options}


def build(seed=0, **changes):
    return parts.build(
        PARTS | changes,
        event_shape=SHAPE,
        latent_dim=4,
        mean=torch.full(SHAPE, 0.3),
        pseudo_inputs=torch.full((20, *SHAPE), 0.5),
        seed=seed,
    )


def test_vae_is_built_from_its_parts():
    vae = build()
    assert isinstance(vae, VAE)
    assert isinstance(vae.decoder, MLP)
    assert vae.decoder.in_shape == (4,)
    assert vae.decoder.out_shape == SHAPE
    assert torch.allclose(vae.likelihood.bias.sigmoid(), torch.tensor(0.3))


def test_prior_and_model_share_the_encoder():
    vae = build(prior=part("VampPrior", num_components=5))
    assert vae.prior.encoder is vae.encoder
    assert vae.prior.pseudo_inputs.shape == (5, *SHAPE)


def test_decoder_of_its_own():
    vae = build(decoder=part("ConvDecoder", channels=[8]))
    assert isinstance(vae.decoder, ConvDecoder)
    assert isinstance(vae.encoder.network, MLP)


def test_activations_by_name():
    vae = build(network=part("MLP", hidden=[16], activation="Tanh"))
    assert any(isinstance(layer, nn.Tanh) for layer in vae.decoder.layers)


def test_seed_makes_the_parameters_and_leaves_the_global_stream():
    before = torch.get_rng_state()
    first, again, other = build(1), build(1), build(2)
    assert torch.equal(before, torch.get_rng_state())
    weights = [vae.decoder.layers[1].weight for vae in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_own_model_by_import_path():
    model = parts.build(
        {"model": part(f"{__name__}.OwnModel", width=7)},
        event_shape=SHAPE,
        latent_dim=4,
        mean=torch.zeros(SHAPE),
        pseudo_inputs=torch.zeros(1, *SHAPE),
        seed=0,
    )
    assert model.arguments == (SHAPE, 4, 7)


class Odd(nn.Module):
    """A class with arguments of all kinds.

    Args:
        bare: neither type nor default.
    """

    def __init__(
        self,
        dim,
        bare,
        size=3,
        nothing=None,
        numbers: dict[str, list[float]] | None = None,
        anything: Any = (),
        base: nn.Module | None = None,
        rule: Callable[[int], float] = float,
        kind: type[nn.Module] = nn.Tanh,
        own: Callable[[], nn.Module] = StandardNormal,
        between: Callable[[], nn.Module] = nn.Tanh,
        **others,
    ): ...


def test_options_leave_out_what_is_filled_in():
    assert set(parts.options(VampPrior)) == {"num_components", "start", "learn_inputs", "learn_weights", "seed"}
    assert parts.options(StandardNormal) == {}
    assert set(parts.options(GatedMLP)) == {"hidden"}
    hint, default, text = parts.options(MLP)["activation"]
    assert "Tanh" in get_args(hint)
    assert default == "ReLU"
    assert "module between layers" in text
    assert "pixels" in parts.options(PixelCNN)
    assert set(parts.options(pyro.infer.TraceMeanField_ELBO)) == {"num_particles", "vectorize_particles"}


def test_options_are_plain_values_and_never_a_class_or_a_function_of_any_kind():
    found = parts.options(Odd)
    assert [*found] == ["bare", "size", "nothing", "numbers", "between"]
    assert found["bare"] == (parts.PLAIN, inspect.Parameter.empty, "neither type nor default.")
    assert found["size"][0] == int | float


def test_parts_follow_from_the_model():
    names = {part: values["class_path"] for part, values in PARTS.items()} | {"objective": "Trace_ELBO"}
    assert parts.parts_of(names) == ["model", "prior", "likelihood", "encoder", "network", "objective"]
    assert "decoder" in parts.parts_of(names | {"decoder": "MLP"})
    assert parts.parts_of(names | {"model": f"{__name__}.OwnModel"}) == ["model", "objective"]


@pytest.mark.parametrize("part", ["prior", "likelihood", "encoder", "network", "decoder", "model", "objective"])
def test_every_short_name_is_a_class(part):
    assert parts.short_names(part)
    for name in parts.short_names(part):
        assert isinstance(parts.find_class(part, name), type)


@pytest.mark.parametrize(
    ("part", "name", "message"),
    [
        ("prior", "VampPrio", r"Expected --prior to be one of .*VampPrior.* got 'VampPrio'. Did you mean VampPrior\?"),
        ("likelihood", "negative_binomial", r"Did you mean NegativeBinomial\?"),
        ("network", "mlp", r"Did you mean MLP\?"),
        ("prior", "no_such_module.Prior", "Expected --prior to be an import path"),
        ("prior", "torch.nn.NoSuchClass", "Expected --prior to be an import path"),
        ("prior", "os.path.join", "Expected --prior to be the import path of a class"),
    ],
)
def test_unknown_names_say_what_there_is(part, name, message):
    with pytest.raises(ValueError, match=message):
        parts.find_class(part, name)


def test_names_of_this_library_are_short_in_every_spelling():
    for name in ("VampPrior", "pyro_vae.VampPrior", "pyro_vae.priors.VampPrior"):
        assert parts.canonical("prior", name) == "VampPrior"
        assert parts.find_class("prior", name) is VampPrior
    assert parts.canonical("prior", "mine.VampPrior") == "mine.VampPrior"
    assert parts.find_class("objective", "pyro.infer.Trace_ELBO") is pyro.infer.Trace_ELBO


@pytest.mark.parametrize("name", parts.ACTIVATIONS)
def test_every_activation_of_the_list_is_made_without_arguments(name):
    vae = build(network=part("MLP", hidden=[4], activation=name))
    assert type(vae.decoder.layers[2]) is getattr(nn, name)


def test_a_part_that_refuses_its_arguments_is_named():
    with pytest.raises(ValueError, match="In the prior, VampPrior: Expected num_components from 1 to 20"):
        build(prior=part("VampPrior", num_components=21))
    with pytest.raises(ValueError, match="In the network, ConvEncoder: Expected in_shape of an image"):
        build(network=part("ConvEncoder"))


def test_own_classes_that_do_not_work_are_named():
    with pytest.raises(ValueError, match="In the prior, Broken: KeyError: 'no such thing'"):
        build(prior=part(f"{__name__}.Broken"))
    with pytest.raises(ValueError, match=r"Expected --model to be a class with the method model; .*Silent has none"):
        build(model=part(f"{__name__}.Silent"))
    with pytest.raises(
        ValueError, match=r"In the likelihood, NoShape: Expected feature_shape, .* Set self\.feature_shape"
    ):
        build(likelihood=part(f"{__name__}.NoShape"))
    with pytest.raises(ValueError, match=r"used for the decoder too: give another with --decoder"):
        build(network=part("ConvEncoder"))


def test_objective_with_arguments():
    objective = parts.build_objective(part("RenyiELBO", alpha=0.0, num_particles=5))
    assert isinstance(objective, pyro.infer.RenyiELBO)
    assert objective.num_particles == 5
