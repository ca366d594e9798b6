"""Strings become objects: names, import paths, constructor arguments, and what is filled in."""

import pyro.infer
import pytest
import torch
from torch import nn

from pyro_vae import MLP, VAE, ConvDecoder, GatedMLP, StandardNormal, VampPrior
from pyro_vae.runs import parts as settings

SHAPE = (1, 8, 8)
PARTS = {
    "model": {"name": "VAE"},
    "prior": {"name": "StandardNormal"},
    "likelihood": {"name": "Bernoulli"},
    "encoder": {"name": "GaussianEncoder"},
    "network": {"name": "MLP", "hidden": [16]},
}


class OwnModel(nn.Module):
    def __init__(self, event_shape, latent_dim, width: int = 3):
        super().__init__()
        self.arguments = (event_shape, latent_dim, width)

    def model(self, x): ...

    def guide(self, x): ...


class Silent(nn.Module):
    def __init__(self):
        super().__init__()


class Broken(nn.Module):
    def __init__(self, dim):
        raise KeyError("no such thing")


def build(seed=0, **changes):
    return settings.build(
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
    vae = build(prior={"name": "VampPrior", "num_components": 5})
    assert vae.prior.encoder is vae.encoder
    assert vae.prior.pseudo_inputs.shape == (5, *SHAPE)


def test_decoder_of_its_own():
    vae = build(decoder={"name": "ConvDecoder", "channels": [8]})
    assert isinstance(vae.decoder, ConvDecoder)
    assert isinstance(vae.encoder.network, MLP)


def test_callable_arguments_by_import_path():
    vae = build(network={"name": "MLP", "hidden": [16], "activation": "torch.nn.Tanh"})
    assert any(isinstance(layer, nn.Tanh) for layer in vae.decoder.layers)


def test_seed_makes_the_parameters_and_leaves_the_global_stream():
    before = torch.get_rng_state()
    first, again, other = build(1), build(1), build(2)
    assert torch.equal(before, torch.get_rng_state())
    weights = [vae.decoder.layers[1].weight for vae in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_own_model_by_import_path():
    model = settings.build(
        {"model": {"name": f"{__name__}.OwnModel", "width": 7}},
        event_shape=SHAPE,
        latent_dim=4,
        mean=torch.zeros(SHAPE),
        pseudo_inputs=torch.zeros(1, *SHAPE),
        seed=0,
    )
    assert model.arguments == (SHAPE, 4, 7)


def test_options_leave_out_what_is_filled_in():
    assert set(settings.options(VampPrior)) == {"num_components", "start", "learn_inputs", "learn_weights", "seed"}
    assert settings.options(StandardNormal) == {}
    assert set(settings.options(GatedMLP)) == {"hidden"}
    hint, default, text = settings.options(MLP)["activation"]
    assert hint is str
    assert default == "torch.nn.modules.activation.ReLU"
    assert "module between layers" in text


def test_parts_follow_from_the_model():
    names = {part: values["name"] for part, values in PARTS.items()} | {"objective": "Trace_ELBO"}
    assert settings.parts_of(names) == ["model", "prior", "likelihood", "encoder", "network", "objective"]
    assert "decoder" in settings.parts_of(names | {"decoder": "MLP"})
    assert settings.parts_of(names | {"model": f"{__name__}.OwnModel"}) == ["model", "objective"]


@pytest.mark.parametrize("part", ["prior", "likelihood", "encoder", "network", "decoder", "model", "objective"])
def test_every_short_name_is_a_class(part):
    assert settings.short_names(part)
    for name in settings.short_names(part):
        assert isinstance(settings.find_class(part, name), type)


@pytest.mark.parametrize(
    ("part", "name", "message"),
    [
        ("prior", "VampPrio", r"Expected --prior to be one of .*VampPrior.* got 'VampPrio'. Did you mean VampPrior\?"),
        ("likelihood", "negative_binomial", r"Did you mean NegativeBinomial\?"),
        ("network", "mlp", r"Did you mean MLP\?"),
        ("prior", "no_such_module.Prior", "Expected an import path"),
        ("prior", "torch.nn.NoSuchClass", "Expected an import path"),
        ("prior", "os.path.join", "Expected --prior to be the import path of a class"),
    ],
)
def test_unknown_names_say_what_there_is(part, name, message):
    with pytest.raises(ValueError, match=message):
        settings.find_class(part, name)


def test_a_part_that_refuses_its_arguments_is_named():
    with pytest.raises(ValueError, match="In the prior, VampPrior: Expected num_components from 1 to 20"):
        build(prior={"name": "VampPrior", "num_components": 21})
    with pytest.raises(ValueError, match="In the network, ConvEncoder: Expected in_shape of an image"):
        build(network={"name": "ConvEncoder"})


def test_own_classes_that_do_not_work_are_named():
    with pytest.raises(ValueError, match="In the prior, Broken: KeyError: 'no such thing'"):
        build(prior={"name": f"{__name__}.Broken"})
    with pytest.raises(ValueError, match=r"Expected --model to be an nn\.Module with methods model and guide"):
        build(model={"name": f"{__name__}.Silent"})
    with pytest.raises(ValueError, match=r"used for the decoder too: give another with --decoder"):
        build(network={"name": "ConvEncoder"})


def test_objective_with_arguments():
    objective = settings.build_objective({"name": "RenyiELBO", "alpha": 0.0, "num_particles": 5})
    assert isinstance(objective, pyro.infer.RenyiELBO)
    assert objective.num_particles == 5
